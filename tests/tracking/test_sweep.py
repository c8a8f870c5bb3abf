"""The search: what an agent of the sweep would run is a command that this project takes."""

import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from pipeline.config.load import load_config
from pipeline.core.io import read_json
from pipeline.core.paths import TrainingPaths
from pipeline.tracking.step_log import read_record
from tests.conftest import Commands
from tests.tracking.offline import OfflineRun, copy_untrained

REPOSITORY = Path(__file__).parents[2]
SWEEP = YAML(typ="safe", pure=True).load(REPOSITORY / "configs" / "sweep.yaml")


def extremes(parameter: dict[str, Any]) -> list[Any]:
    return parameter["values"] if "values" in parameter else [parameter["min"], parameter["max"]]


def trials() -> list[dict[str, Any]]:
    """Every value of every parameter, in as many trials as the longest has values."""
    values = [extremes(parameter) for parameter in SWEEP["parameters"].values()]
    columns = zip(*(itertools.islice(itertools.cycle(each), max(map(len, values))) for each in values), strict=True)
    return [dict(zip(SWEEP["parameters"], column, strict=True)) for column in columns]


def words_of(trial: dict[str, Any], tmp_path: Path) -> list[str]:
    """What Python gets when the sweep's command runs, as an agent fills it in."""
    filled = create_sweep_command_args({"args": {name: {"value": value} for name, value in trial.items()}})
    command = [
        word for part in SWEEP["command"] for word in (filled.get(part[2:-1], [part]) if "{" in part else [part])
    ]
    (tmp_path / "python").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "python").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "WANDB_RUN_ID": "q7"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize("trial", trials(), ids=str)
def test_a_trial_is_a_training_of_its_own_with_the_values_it_was_given(
    trial: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name, option, config, *overrides = words_of(trial, tmp_path)
    assert (module, name, option) == ("-m", "pipeline.train", "--config")
    monkeypatch.chdir(REPOSITORY)
    resolved = load_config(config, overrides)
    assert resolved.name == "trial-q7"
    for key, value in trial.items():
        section, setting = key.split(".")
        assert getattr(getattr(resolved, section), setting) == value


@pytest.mark.slow
def test_the_run_of_a_trial_is_found_from_its_model_and_the_other_way_round(finished: Path, tmp_path: Path) -> None:
    folder = copy_untrained(finished, tmp_path / "project")
    commands = Commands(folder)
    commands.environment |= {"WANDB_SWEEP_ID": "s1", "WANDB_RUN_ID": "q7"}
    commands("train", "name=trial-q7", "model.freeze=true", "training={}")
    trained = TrainingPaths(folder / "runs/cubes/trial-q7/fold-0-seed-0")
    record, run = read_record(trained.tracking), OfflineRun(folder, "q7")
    assert record.run_id == "q7" and len(run.parts) == 1 and run.config["key"] == record.key
    assert f"run q7 (config.key {record.key})" in Commands(folder)("runs", "identify", str(trained.best)).stdout
    shutil.copy(trained.best, tmp_path / "elsewhere.ckpt")
    assert f"config.key {record.key}" in Commands(folder)("runs", "identify", str(tmp_path / "elsewhere.ckpt")).stdout


def documented_queue() -> list[str]:
    """The commands of the queue, by the tiny project's names and with two trials."""
    documented = (REPOSITORY / "docs" / "experiments.md").read_text()
    block = re.search(r"DVC's queue.*?```bash\n(.*?)```", documented, re.DOTALL)[1].replace("\\\n", "")
    keys = ("training.learning_rate=1e-4,5e-4,2e-3", "training.class_weights=none,balanced")
    for ours, tiny in (("phantom", "cubes"), ("3d_poolformer", "tiny"), keys):
        assert ours in block
        block = block.replace(ours, tiny)
    return block.splitlines()


@pytest.mark.slow
def test_the_documented_queue_ranks_its_trials_and_keeps_their_runs(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))
    commands, config = Commands(folder), folder / "configs/tiny.yaml"
    frozen = re.sub("training: .*", "training: {class_weights: none}", config.read_text())
    config.write_text(frozen.replace("model: {", "model: {freeze: true, "))
    # A second experiment, with a figure of the same name.
    shutil.copy(config, folder / "configs/other.yaml")
    shutil.copytree(folder / "runs/cubes/tiny", folder / "runs/cubes/other")
    shutil.copy(folder / "test_looks/cubes/tiny.csv", folder / "test_looks/cubes/other.csv")
    (folder / "params.yaml").write_text("cohort: cubes\nexperiments: [tiny, other]\nfolds: [0]\nseeds: [0]\n")
    # Taking a trial over wants every output of the graph to be known.
    stages = ("train@cubes-other-0-0", "predict@cubes-other-0-0", "evaluate@cubes-other", "audit@cubes-other")
    commands.dvc("commit", "--force", *stages, "explain@cubes-other-0-0")
    commands.environment |= {f"GIT_{who}": "a@b" for who in ("AUTHOR_NAME", "AUTHOR_EMAIL")}
    commands.environment |= {f"GIT_{who}": "a@b" for who in ("COMMITTER_NAME", "COMMITTER_EMAIL")}
    for words in (["add", "--all"], ["commit", "--quiet", "--message", "all"]):
        assert commands.run(["git", *words]).returncode == 0
    *lines, apply = documented_queue()
    done = commands.run(["bash", "-ec", "\n".join(lines)])
    assert done.returncode == 0, done.stdout + done.stderr
    names = commands.dvc("exp", "list", "--name-only").split()
    shown = done.stdout[done.stdout.index("Experiment", done.stdout.rindex("Reproducing")) :]
    scores = {name: apply_trial(commands, apply.replace("NAME", name)) for name in sorted(names, key=shown.index)}
    assert len(scores) == 2 and list(scores.values()) == sorted(scores.values(), reverse=True)


def apply_trial(commands: Commands, apply: str) -> float:
    """Take a trial over; its validation figure. The W&B run that it names lies in the project."""
    done = commands.run(["bash", "-ec", apply])
    assert done.returncode == 0, done.stderr
    trained = TrainingPaths(commands.folder / "runs/cubes/tiny/fold-0-seed-0")
    assert len(OfflineRun(commands.folder, read_record(trained.tracking).run_id).parts) == 1
    return read_json(trained.best_epoch)["val_auroc"]


def test_the_sweep_and_the_documented_queue_go_by_one_validation_figure() -> None:
    assert SWEEP["metric"] == {"name": "best/val_auroc", "goal": "maximize"}
    shown = next(line for line in documented_queue() if line.startswith("dvc exp show"))
    assert "--sort-by runs/cubes/tiny/fold-0-seed-0/best.json:val_auroc --sort-order desc" in shown
