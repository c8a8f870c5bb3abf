"""dvc.yaml: deps cover the code a stage imports, params the sections it reads, and every shipped config fits."""

import ast
import shutil
from pathlib import Path

import pytest
import torch
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from pipeline.config.load import resolve
from pipeline.explanation.saliency import METHODS
from pipeline.training.auto import build_network

REPOSITORY = Path(__file__).parents[1]
GRAPH = YAML(typ="safe", pure=True).load(REPOSITORY / "dvc.yaml")["stages"]
EXPERIMENTS = sorted(set((REPOSITORY / "configs").glob("*.yaml")) - {REPOSITORY / "configs" / "sweep.yaml"})
# What `auto` stands for is built in tests/training/test_settle.py.
BUILDABLE = [path for path in EXPERIMENTS if path.stem != "auto"]
COHORTS = sorted((REPOSITORY / "configs" / "cohorts").glob("*.yaml"))
VERBS = (
    *("fetch", "ingest", "split", "plan", "preprocess", "train", "predict"),
    *("evaluate", "audit", "explain", "report", "track"),
)
# How a command line is read and where files lie decides no result; a change there need not rerun anything.
ASIDE = {
    "plan": {"pipeline/training/cost_estimate.py"},
    "train": {"pipeline/tracking/callbacks.py"},
    "predict": {"pipeline/inference/ensemble.py"},
    "evaluate": {"pipeline/inference/ensemble.py", "pipeline/reporting/text_tables.py"},
}
"""What `plan --dry-run`, `predict --run` and `evaluate --run` alone call, and what watches a training: none decides an
output."""
PLUMBING = {
    *("pipeline/__init__.py", "pipeline/config/cli.py", "pipeline/config/load.py", "pipeline/config/reference.py"),
    *(f"pipeline/core/{name}.py" for name in "columns errors io parallel paths progress".split()),
}


def imports_of(file: Path) -> set[Path]:
    """Files of this package that a file imports, anywhere in it, with the `__init__` of each package on the way."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pipeline"):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("pipeline")]
        for name in names:
            parts = name.split(".")
            for depth in range(1, len(parts) + 1):
                place = REPOSITORY.joinpath(*parts[:depth])
                found |= {f for f in (place.with_suffix(".py"), place / "__init__.py") if f.is_file()}
    return found


def closure_of(verb: str) -> set[str]:
    """Files with code that running a stage may load."""
    seen: set[Path] = set()
    waiting = {REPOSITORY / "pipeline" / f"{verb}.py"}
    aside = {REPOSITORY / name for name in PLUMBING | ASIDE.get(verb, set())}
    while waiting:
        current = waiting.pop()
        seen.add(current)
        waiting |= imports_of(current) - seen - aside
    return {str(path.relative_to(REPOSITORY)) for path in seen if has_code(path)}


def has_code(file: Path) -> bool:
    """More than a docstring."""
    return len(ast.parse(file.read_text()).body) > 1


def keys_of(stage: dict, kind: str) -> list[str]:
    """The paths in a list of paths, some with flags."""
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in stage.get(kind, [])]


def test_every_verb_of_the_graph_is_a_stage_and_a_module() -> None:
    assert tuple(GRAPH) == VERBS
    for verb in VERBS:
        assert GRAPH[verb]["cmd"].startswith(f"python -m pipeline.{verb} ")
        assert (REPOSITORY / "pipeline" / f"{verb}.py").is_file()


@pytest.mark.parametrize("verb", VERBS)
def test_deps_cover_what_the_stage_imports(verb: str) -> None:
    deps = [dep for dep in keys_of(GRAPH[verb], "deps") if dep.startswith("pipeline/")]
    needed = closure_of(verb)
    uncovered = {file for file in needed if not any(file == dep or file.startswith(f"{dep}/") for dep in deps)}
    assert not uncovered
    idle = {dep for dep in deps if not any(file == dep or file.startswith(f"{dep}/") for file in needed)}
    assert not idle


@pytest.mark.parametrize("verb", VERBS)
def test_what_a_stage_reads_some_stage_before_writes(verb: str) -> None:
    before = [
        out
        for other in VERBS[: VERBS.index(verb)]
        for kind in ("outs", "metrics", "plots")
        for out in keys_of(GRAPH[other], kind)
    ]
    for dep in keys_of(GRAPH[verb], "deps"):
        if dep != "configs" and not dep.startswith(("pipeline/", "configs/")):
            dep = dep.replace("${folds[0]}", "${item.fold}")
            assert any(out == dep or out.startswith(f"{dep}/") for out in before), dep


def followed_sections(kind: str) -> set[str]:
    """Sections of `cohort` or `experiment` configs that dvc.yaml lists; DVC wants them to be there, empty or not."""
    entries = [entry for verb in VERBS for entry in GRAPH[verb].get("params", []) if isinstance(entry, dict)]
    return {section for entry in entries for name, sections in entry.items() if kind in name for section in sections}


@pytest.mark.parametrize("config", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_shipped_experiment_has_the_sections_that_dvc_follows(config: Path) -> None:
    assert followed_sections("experiment") <= set(YAML(typ="safe", pure=True).load(config))


@pytest.mark.parametrize("config", COHORTS, ids=lambda path: path.stem)
def test_every_shipped_cohort_has_the_sections_that_dvc_follows(config: Path) -> None:
    assert followed_sections("cohort") <= set(YAML(typ="safe", pure=True).load(config))


@pytest.mark.parametrize("config", [*EXPERIMENTS, *COHORTS], ids=lambda path: path.stem)
def test_one_key_of_every_shipped_config_can_be_set_by_dvc_exp_run(config: Path, tmp_path: Path) -> None:
    key = "split.seed" if config in COHORTS else "evaluation.num_bootstrap"
    copy = Path(shutil.copy(config, tmp_path))
    apply_overrides(copy, [f"++{key}=7"])
    before, after = YAML(typ="safe", pure=True).load(config), YAML(typ="safe", pure=True).load(copy)
    section, name = key.split(".")
    before[section] = (before[section] or {}) | {name: 7}
    assert after == before


@pytest.mark.parametrize("cohort", COHORTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("config", BUILDABLE, ids=lambda path: path.stem)
def test_every_shipped_pair_loads_and_builds(config: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    resolved = resolve(config.name, [f"cohort={cohort.stem}"])
    network = build_network(resolved.model, num_classes=2)
    assert network.num_classes == 2


@pytest.mark.slow
@pytest.mark.parametrize("config", BUILDABLE, ids=lambda path: path.stem)
def test_the_maps_that_a_shipped_experiment_asks_for_can_be_drawn(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    resolved = resolve(config.name, ["cohort=phantom"])
    network = build_network(resolved.model, num_classes=2).eval()
    torch.manual_seed(0)
    volume = torch.randn(1, 1, 32, 48, 48)
    evidence = torch.stack([METHODS[resolved.explanation.method](network, volume, index) for index in (0, 1)])
    assert evidence.shape == (2, *volume.shape[2:])
    assert evidence.min() >= 0 and evidence.max() == 1
