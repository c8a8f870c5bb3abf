"""Training through the command line: the same twice, the same after a kill, and without a gradient."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from pipeline.models import build_model
from pipeline.training.runfile import RunFile
from tests.conftest import Commands

pytestmark = pytest.mark.slow
FOLD = Path("runs/cubes/tiny/fold-0")
SMALL = ("tracking.mode=none", "training.max_epochs=4", "model.options.drop_rate=0.2", "augmentation.strength=strong")


@pytest.fixture
def ready(finished: Path, tmp_path: Path) -> Path:
    """A project whose scans are prepared and where nothing is trained."""
    folder = Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))
    shutil.rmtree(folder / "runs")
    return folder


def outcome(folder: Path) -> tuple[dict[str, torch.Tensor], str]:
    return RunFile.read(folder / FOLD / "best.ckpt").state_dict, (folder / FOLD / "history.csv").read_text()


def assert_same(first: Path, second: Path) -> None:
    (weights, history), (others, other_history) = outcome(first), outcome(second)
    assert history == other_history
    assert all(torch.equal(weights[name], others[name]) for name in weights) and weights.keys() == others.keys()


def kill_after_epochs(folder: Path, epochs: int) -> None:
    """Start the training and end it without warning once so many epochs are in its history."""
    commands = Commands(folder)
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.train", *SMALL],
        cwd=folder,
        env=commands.environment,
        stderr=subprocess.DEVNULL,
    )
    history = folder / FOLD / "history.csv"
    while process.poll() is None and not (history.is_file() and len(pd.read_csv(history)) >= epochs):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the training ended before it was killed"


def test_a_killed_training_goes_on_to_the_very_result_of_a_whole_one(ready: Path, tmp_path: Path) -> None:
    whole = Path(shutil.copytree(ready, tmp_path / "whole", symlinks=True))
    Commands(whole)("train", *SMALL, "training.num_workers=2")
    kill_after_epochs(ready, epochs=2)
    resumed = Commands(ready)("train", *SMALL)
    assert "going on from epoch" in resumed.stderr
    assert_same(ready, whole)
    assert pd.read_csv(ready / FOLD / "history.csv")["epoch"].tolist() == [0, 1, 2, 3]


def test_another_setting_is_another_training_and_starts_anew(ready: Path) -> None:
    kill_after_epochs(ready, epochs=1)
    log = Commands(ready)("train", *SMALL, "training.learning_rate=1e-4").stderr
    assert "going on" not in log
    assert pd.read_csv(ready / FOLD / "history.csv")["epoch"].tolist() == [0, 1, 2, 3]


def test_a_frozen_network_keeps_its_features_and_gets_the_logistic_head(ready: Path) -> None:
    Commands(ready)("train", "model.freeze=true", "tracking.mode=none")
    trained = RunFile.read(ready / FOLD / "best.ckpt")
    torch.manual_seed(0)
    fresh = build_model("resnet18", spatial_dims=3).state_dict()
    changed = {name for name, value in trained.state_dict.items() if not torch.equal(value, fresh[name])}
    assert changed == {"fc.weight", "fc.bias"}
    assert len(pd.read_csv(ready / FOLD / "history.csv")) == 1
