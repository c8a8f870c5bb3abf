"""Training through the command line: the same twice, the same after a kill, and without a gradient."""

import shutil
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from pipeline.core.io import lock_for_process
from pipeline.core.paths import TrainingPaths
from pipeline.models import build_model
from pipeline.training.checkpoint import TrainedCheckpoint
from tests.conftest import MODEL, Commands

pytestmark = pytest.mark.slow
FOLD = Path("runs/cubes/tiny/fold-0-seed-0")
SMALL = ("tracking.mode=none", "training.max_epochs=4", "model.options.drop_rate=0.2", "augmentation.strength=strong")


@pytest.fixture
def ready(finished: Path, tmp_path: Path) -> Path:
    """A project whose scans are prepared and where nothing is trained."""
    folder = Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))
    shutil.rmtree(folder / "runs")
    return folder


def outcome(folder: Path) -> tuple[dict[str, torch.Tensor], str]:
    return TrainedCheckpoint.read(folder / FOLD / "best.ckpt").state_dict, (folder / FOLD / "history.csv").read_text()


def assert_same(first: Path, second: Path) -> None:
    (weights, history), (others, other_history) = outcome(first), outcome(second)
    assert history == other_history
    assert all(torch.equal(weights[name], others[name]) for name in weights) and weights.keys() == others.keys()


def signal_after_epochs(folder: Path, epochs: int, number: int) -> tuple[int, str]:
    """Start the training, send it a signal once so many epochs are in its history; exit code and stderr."""
    log, history = folder / "stderr.txt", folder / FOLD / "history.csv"
    with log.open("w") as stderr:
        process = Commands(folder).start("-m", "pipeline.train", *SMALL, stderr=stderr)
    while process.poll() is None and not (history.is_file() and len(pd.read_csv(history)) >= epochs):
        time.sleep(0.01)
    process.send_signal(number)
    return process.wait(), log.read_text()


def kill_after_epochs(folder: Path, epochs: int) -> None:
    code, _ = signal_after_epochs(folder, epochs, signal.SIGKILL)
    assert code == -signal.SIGKILL, "the training ended before it was killed"


def test_a_killed_training_resumes_to_the_result_of_an_uninterrupted_one(ready: Path, tmp_path: Path) -> None:
    whole = Path(shutil.copytree(ready, tmp_path / "whole", symlinks=True))
    Commands(whole)("train", *SMALL, "training.num_workers=2")
    kill_after_epochs(ready, epochs=2)
    resumed = Commands(ready)("train", *SMALL)
    assert "resuming from epoch" in resumed.stderr
    assert_same(ready, whole)
    assert pd.read_csv(ready / FOLD / "history.csv")["epoch"].tolist() == [0, 1, 2, 3]


def test_sigterm_saves_and_says_how_to_resume_and_another_setting_starts_over(ready: Path) -> None:
    code, log = signal_after_epochs(ready, epochs=1, number=signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    assert "the same command resumes from there" in log and "Traceback" not in log
    log = Commands(ready)("train", *SMALL, "training.learning_rate=1e-4").stderr
    assert "resuming" not in log
    assert pd.read_csv(ready / FOLD / "history.csv")["epoch"].tolist() == [0, 1, 2, 3]


ONE_UPDATE = (
    *("tracking.mode=none", "training.max_epochs=1", "training.accumulate=3", "training.optimizer=sgd"),
    *("training.learning_rate=0.1", "training.accelerator=cpu", "model.options.norm=group"),
    # Sums of weights differ between the two processes' scans.
    "training.class_weights=balanced",
)


def test_two_processes_make_the_update_and_metrics_of_one(ready: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copytree(ready, tmp_path / "alone", symlinks=True))
    Commands(alone)("train", *ONE_UPDATE, "training.batch_size=4")
    together = Commands(ready)
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m")
    done = together.python(*launch, "pipeline.train", *ONE_UPDATE, "training.batch_size=2", "training.devices=2")
    assert done.returncode == 0, done.stderr
    assert "12 scans per update (batch 2 x 3 accumulated x 2 processes)" in done.stderr
    (weights, _), (others, _) = outcome(alone), outcome(ready)
    assert all(torch.allclose(weights[name], others[name], rtol=0, atol=1e-5) for name in weights)
    state = torch.load(ready / FOLD / "last.ckpt", weights_only=True)
    assert state["global_step"] == 1
    torch.manual_seed(0)
    fresh = build_model(MODEL["name"], **MODEL["options"], norm="group").state_dict()
    assert (fresh["conv1.weight"] - weights["conv1.weight"]).abs().max() > 1e-3
    histories = [pd.read_csv(folder / FOLD / "history.csv").iloc[0] for folder in (alone, ready)]
    assert histories[0].to_numpy() == pytest.approx(histories[1].to_numpy(), abs=1e-5)


# Of the tiny project's three epochs, as its config stands in conftest.py. A refactor moves none of these; a change that
# is meant to move them says so and writes the new ones.
REFERENCE = {
    "train_loss": [0.6060, 0.2865, 0.2132],
    "val_loss": [0.6830, 0.6731, 0.6533],
    "val_auroc": [0.875, 1.0, 1.0],
    "learning_rate": [1.710e-03, 6.311e-04, 2.000e-05],
}


def test_the_tiny_run_has_its_reference_loss_history(finished: Path) -> None:
    history = pd.read_csv(finished / FOLD / "history.csv")
    assert history["step"].tolist() == [3, 6, 9]
    for name, values in REFERENCE.items():
        # Processors round sums differently, which moves three updates by 2e-5 and, through nine, two patients' order.
        assert history[name][0] == pytest.approx(values[0], rel=2e-3), name
        assert history[name].tolist() == pytest.approx(values, rel=0.05), name


def test_a_second_training_in_the_same_folder_is_refused_while_the_first_is_alive(ready: Path) -> None:
    with lock_for_process(TrainingPaths(ready / FOLD).lock):
        done = Commands(ready)("train", *SMALL, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"{FOLD}: another process trains in this folder, expected one at a time; wait for it" in done.stderr
    assert [path.name for path in (ready / FOLD).iterdir()] == [".lock"]


def test_the_config_of_a_run_repeats_it(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))
    (copy / "configs" / "tiny.yaml").unlink()
    (copy / FOLD / "best.ckpt").unlink()
    Commands(copy)("train", "--config", str(FOLD / "config.yaml"))
    assert_same(copy, finished)
    for file in (copy / FOLD).iterdir():
        # Seconds and memory of each step differ.
        assert file.name == "steps.csv" or file.read_bytes() == (finished / FOLD / file.name).read_bytes(), file.name


@pytest.mark.parametrize(("check", "says"), [("overfit_batch", "overfit one batch"), ("lr_finder", "falls fastest at")])
def test_a_sanity_check_logs_its_result_and_writes_nothing(finished: Path, check: str, says: str) -> None:
    before = sorted(finished.rglob("*"))
    assert says in Commands(finished)("train", "check", check).stderr
    assert sorted(finished.rglob("*")) == before


def test_an_undefined_validation_auroc_is_rejected_before_anything_is_written(ready: Path) -> None:
    path = ready / "data/cubes/splits.csv"
    splits = pd.read_csv(path)
    moved = (splits["fold"] == 0) & (splits["label"] == "cube")
    splits.assign(fold=splits["fold"].mask(moved, 1).astype("Int64")).to_csv(path, index=False)
    done = Commands(ready)("train", *SMALL, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "0 cube, expected some of each class; set training.monitor=loss" in done.stderr
    assert not (ready / FOLD).exists()


def test_a_frozen_network_keeps_its_features_and_gets_the_logistic_head(ready: Path) -> None:
    frozen = ("model.freeze=true", "tracking.mode=none")
    refused = Commands(ready)("train", *frozen, check=False)
    assert (
        refused.returncode == 1
        and "these settings have no effect: training.max_epochs=3, training.batch_size=4" in refused.stderr
    )
    Commands(ready)("train", *frozen, "training={}")
    trained = TrainedCheckpoint.read(ready / FOLD / "best.ckpt")
    torch.manual_seed(0)
    fresh = build_model(MODEL["name"], **MODEL["options"]).state_dict()
    changed = {name for name, value in trained.state_dict.items() if not torch.equal(value, fresh[name])}
    assert changed == {"fc.weight", "fc.bias"}
    assert len(pd.read_csv(ready / FOLD / "history.csv")) == 1
