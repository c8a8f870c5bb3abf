"""The search: what an agent of the sweep would run is a command that this project takes."""

import itertools
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from pipeline.resolve import resolve

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
    resolved = resolve(config, overrides)
    assert resolved.name == "trial-q7"
    for key, value in trial.items():
        section, setting = key.split(".")
        assert getattr(getattr(resolved, section), setting) == value


def test_the_sweep_and_the_documented_queue_go_by_one_validation_figure() -> None:
    documented = (REPOSITORY / "docs" / "experiments.md").read_text()
    assert SWEEP["metric"] == {"name": "best/val_auroc", "goal": "maximize"}
    assert "--sort-by val_auroc --sort-order desc" in documented
