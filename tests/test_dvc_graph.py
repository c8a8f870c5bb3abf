"""dvc.yaml: deps cover the code a stage imports, params the sections it reads, and every shipped config fits."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.parsing.interpolate import to_str
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from pipeline.config.load import load_config
from pipeline.core.paths import DVC_PLOTS, Artifacts, TrainingKey
from tests.import_graph import (
    PACKAGE,
    REPOSITORY,
    has_code,
    imported_modules,
    registered_modules,
    with_packages,
)

GRAPH = YAML(typ="safe", pure=True).load(REPOSITORY / "dvc.yaml")["stages"]
EXPERIMENTS = sorted(set((REPOSITORY / "configs").glob("*.yaml")) - {REPOSITORY / "configs" / "sweep.yaml"})
# What `auto` stands for is built in tests/training/test_auto.py.
BUILDABLE = [path for path in EXPERIMENTS if path.stem != "auto"]
COHORTS = sorted((REPOSITORY / "configs" / "cohorts").glob("*.yaml"))
VERBS = (
    *("fetch", "ingest", "split", "plan", "preprocess", "train", "predict"),
    *("evaluate", "audit", "explain", "report", "track"),
)
ASIDE = {
    "plan": {"training/cost_estimate.py"},
    "train": {"tracking/callbacks.py"},
    "predict": {
        *("inference/trained_run.py", "inference/bulk_prediction.py", "inference/prediction_rows.py"),
        *("inference/new_scans.py", "inference/ensemble.py", "explanation/new_scans.py"),
    },
    "evaluate": {"inference/ensemble.py", "reporting/formatting.py"},
}
"""Modules that only other sub-commands of a stage call, and what watches a training: none decides an output."""
LOADED_BY_NAME = {"fetch": {"cohorts/sources/kinds.py"}}
"""Modules that a registry of a lower layer imports."""
DECISIVE = {"folds", "provenance"}
"""Modules of core that decide results."""
PLUMBING = {
    *("__init__.py", "config/load.py", "config/reference.py", "config/validate.py"),
    *(f"core/{module.name}" for module in (PACKAGE / "core").glob("*.py") if module.stem not in DECISIVE),
}
"""How a command line is read and where files are decides no result; a change there need not rerun anything."""


def closure_of(verb: str) -> set[str]:
    """Files with code that running a stage may load."""
    aside = {PACKAGE / name for name in PLUMBING | ASIDE.get(verb, set())}
    waiting = {PACKAGE / f"{verb}.py", *(PACKAGE / name for name in LOADED_BY_NAME.get(verb, ()))}
    seen: set[Path] = set()
    while waiting:
        current = waiting.pop()
        seen.add(current)
        loaded = imported_modules(current) | registered_modules(current)
        waiting |= {file for module in loaded for file in with_packages(module)} - seen - aside
    return {str(path.relative_to(REPOSITORY)) for path in seen if has_code(path)}


def keys_of(stage: dict, kind: str) -> list[str]:
    """The paths in a list of paths, some with flags."""
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in stage.get(kind, [])]


def test_every_verb_of_the_graph_is_a_stage_and_a_module() -> None:
    assert tuple(GRAPH) == VERBS
    for verb in VERBS:
        assert GRAPH[verb]["cmd"].startswith(f"set -- ${{item}}; python -m pipeline.{verb} ")
        assert (REPOSITORY / "pipeline" / f"{verb}.py").is_file()


HOSTILE = (
    "x'; touch y; '",
    'x"; touch y; "',
    "$(touch y)",
    "`touch y`",
    "-x",
    "--",
    "x y",
    "x\\",
    "x\ntouch y",
    "",
    "*",
)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_of_params_yaml_is_one_word_to_the_shell(verb: str, name: str, tmp_path: Path) -> None:
    item = dict.fromkeys(GRAPH[verb]["matrix"], name)
    command = GRAPH[verb]["cmd"].replace("${item}", to_str(item))
    assert "${" not in command
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
    python.chmod(0o755)
    environment = os.environ | {"PATH": f"{python.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    config = ["--config", f"{name}.yaml"] if "experiment" in item else []
    keys = [f"{key}={name}" for key in item if key != "experiment"]
    assert done.stdout.split("\0")[:-1] == ["-m", f"pipeline.{verb}", *config, *keys]
    assert not (tmp_path / "y").exists()


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
            dep = dep.replace("${folds[0]}", "${item.fold}").replace("${seeds[0]}", "${item.seed}")
            assert any(out == dep or out.startswith(f"{dep}/") for out in before), dep


def outs_of(verb: str) -> set[str]:
    """Every output of a stage for cohort C, experiment E, fold 3 and seed 7."""
    values = {"item.cohort": "C", "item.experiment": "E", "item.fold": "3", "item.seed": "7"}
    outs = [out for kind in ("outs", "metrics", "plots") for out in keys_of(GRAPH[verb], kind)]
    return {re.sub(r"\$\{(.*?)\}", lambda found: values[found[1]], out) for out in outs}


def test_the_outputs_are_the_paths_that_the_code_writes_to() -> None:
    paths, key = Artifacts(Path()), TrainingKey(fold=3, seed=7)
    cohort, run = paths.cohort("C"), paths.run("C", "E")
    training, evaluation = run.training(key), run.evaluation
    written = {
        "fetch": {cohort.raw, cohort.labels},
        "ingest": {cohort.cohort, cohort.ingest},
        "split": {cohort.splits, cohort.given("split.csv").parent, cohort.leakage},
        "plan": {cohort.plan},
        "preprocess": {cohort.preprocessed},
        "train": {
            *(training.best, training.last, training.config, training.history, training.steps),
            *(training.best_epoch, training.tracking),
        },
        "predict": {run.predictions(key), run.predicted_by(key), run.embeddings(key), run.guard(key)},
        "evaluate": {
            *(evaluation.metrics, evaluation.summary, evaluation.checkpoints.parent, evaluation.models.parent),
            *(evaluation.plot(name) for name in DVC_PLOTS),
            run.looks / "E.csv",
        },
        "audit": {run.audits.parent, run.audit_summary},
        "explain": {run.explanations},
        "report": {paths.report("C").parent},
        "track": {paths.tracking("C")},
    }
    assert {verb: outs_of(verb) for verb in VERBS} == {
        verb: {path.as_posix() for path in written[verb]} for verb in VERBS
    }


@pytest.mark.parametrize("module", ["core/cli.py", "report.py", "reporting", "track.py", "tracking", "evaluation"])
def test_editing_the_command_line_report_tracking_or_evaluation_never_retrains(module: str) -> None:
    followed = keys_of(GRAPH["train"], "deps")
    assert not any(dep == f"pipeline/{module}" or f"pipeline/{module}".startswith(f"{dep}/") for dep in followed)


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


@pytest.mark.parametrize("config", BUILDABLE, ids=lambda path: path.stem)
def test_every_shipped_experiment_loads_with_every_cohort_and_builds(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    from pipeline.training.auto import build_network

    first, *others = [load_config(config.name, [f"cohort={cohort.stem}"]).model for cohort in COHORTS]
    assert all(model == first for model in others)
    assert build_network(first, num_classes=2).num_classes == 2


@pytest.mark.slow
@pytest.mark.parametrize("config", BUILDABLE, ids=lambda path: path.stem)
def test_the_maps_that_a_shipped_experiment_asks_for_can_be_drawn(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from pipeline.explanation.saliency import METHODS
    from pipeline.training.auto import build_network

    monkeypatch.chdir(REPOSITORY)
    resolved = load_config(config.name, ["cohort=phantom"])
    network = build_network(resolved.model, num_classes=2).eval()
    torch.manual_seed(0)
    # Occlusion runs the network once for every place.
    size = (16, 24, 24) if resolved.explanation.method == "occlusion" else (32, 48, 48)
    volume = torch.randn(1, 1, *size)
    method = METHODS.get(resolved.explanation.method).function
    evidence = torch.stack([method(network, volume, index) for index in (0, 1)])
    assert evidence.shape == (2, *volume.shape[2:])
    assert evidence.min() >= 0 and evidence.max() == 1
