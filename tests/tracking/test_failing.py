"""Real failures of the tracker, and trainings that do not mind."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from pipeline.artifacts import FoldPaths
from pipeline.tracking.record import read_record
from pipeline.training.keeping.runfile import RunFile
from tests.conftest import Commands
from tests.tracking.offline import OfflineRun

pytestmark = pytest.mark.slow
FOLD = Path("runs/cubes/tiny/fold-0")
LOG_TEN_STEPS = """
import logging, psutil, sys
from pathlib import Path
from pipeline.config import Tracking
from pipeline.tracking.contents import Parcel
from pipeline.tracking.tracked_run import open_run
logging.basicConfig(level=logging.INFO)
run = open_run(Parcel("abc123", "name", "group", "train", (), {}, Tracking()), Path("wandb"), goes_on=False)
for step in range(10):
    if step == 5 and "kill" in sys.argv:
        [service.kill() for service in psutil.Process().children(recursive=True)]
    run.log(step, {"x": step})
run.finish()
print("open" if run.is_open else "silent")
"""


def log_ten_steps(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
    commands = Commands(folder)
    commands.environment |= environment
    return commands.run([sys.executable, "-c", LOG_TEN_STEPS, *words])


def test_a_folder_that_cannot_be_written_is_one_warning(tmp_path: Path) -> None:
    (tmp_path / "wandb").write_text("a file where the folder should be")
    done = log_ten_steps(tmp_path)
    assert done.returncode == 0 and done.stdout.strip() == "silent"
    assert done.stderr.count("W&B did not start") == 1 and "Traceback" not in done.stderr


def test_a_server_that_does_not_answer_means_writing_offline(tmp_path: Path) -> None:
    # Port 9 of this machine: nothing listens there.
    done = log_ten_steps(tmp_path, WANDB_API_KEY="0" * 40, WANDB_BASE_URL="http://127.0.0.1:9")
    assert done.returncode == 0 and done.stdout.strip() == "open" and "writing offline" in done.stderr
    assert OfflineRun(tmp_path, "abc123").history["x"].tolist() == list(range(10))


def test_a_setting_that_wandb_refuses_is_no_error_of_ours(tmp_path: Path) -> None:
    done = log_ten_steps(tmp_path, WANDB_RESUME="sometimes")
    assert done.returncode == 0 and done.stdout.strip() == "silent" and "W&B did not start" in done.stderr


def test_a_tracker_that_dies_on_the_way_is_one_warning(tmp_path: Path) -> None:
    done = log_ten_steps(tmp_path, "kill")
    assert done.returncode == 0 and done.stdout.strip() == "silent"
    assert done.stderr.count("tracking:") == 1


@pytest.fixture
def ready(finished: Path, tmp_path: Path) -> Path:
    """A project whose scans are prepared and where nothing is trained or tracked."""
    folder = Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))
    for name in ("runs", "wandb", "tracking"):
        shutil.rmtree(folder / name)
    return folder


def test_training_gives_the_same_weights_whether_the_tracker_fails_is_off_or_works(ready: Path) -> None:
    outcomes = []
    for words in (["tracking.mode=none"], []):
        (ready / "wandb").unlink(missing_ok=True)
        (ready / "wandb").write_text("")
        Commands(ready)("train", "model.freeze=true", "training={}", *words)
        trained = RunFile.read(ready / FOLD / "best.ckpt").state_dict
        outcomes.append((trained, (ready / FOLD / "history.csv").read_text()))
        assert read_record(FoldPaths(ready / FOLD).tracking).status == "finished"
    (none, none_history), (failing, failing_history) = outcomes
    assert all(torch.equal(none[name], failing[name]) for name in none) and none_history == failing_history
    assert len(pd.read_csv(ready / FOLD / "steps.csv")) == 1


def kill_after_steps(folder: Path, steps: int) -> None:
    """Start the training and end it without warning, its helpers too, once so many steps are in its log."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.train"],
        cwd=folder,
        env=Commands(folder).environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    log = folder / FOLD / "steps.csv"
    while process.poll() is None and not (log.is_file() and len(log.read_text().splitlines()) > steps):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the training ended before it was killed"


def test_a_killed_and_resumed_training_is_one_run_with_every_step_once(ready: Path) -> None:
    kill_after_steps(ready, 5)
    assert read_record(FoldPaths(ready / FOLD).tracking).status == "running"
    assert "going on from epoch" in Commands(ready)("train").stderr
    record, steps = read_record(FoldPaths(ready / FOLD).tracking), pd.read_csv(ready / FOLD / "steps.csv")
    run = OfflineRun(ready, record.run_id)
    assert record.status == "finished" and [part.name for part in run.parts] == list(record.parts)
    assert len(run.parts) == 2 and run.of_kind("run")[-1]["resume"]
    history = run.history.set_index("_step")
    assert history.index.tolist() == steps["step"].tolist() == list(range(1, 10))
    assert history["step/loss"].tolist() == pytest.approx(steps["loss"].tolist(), rel=1e-12)
    epochs = pd.read_csv(ready / FOLD / "history.csv")
    assert history["val_loss"].dropna().tolist() == pytest.approx(epochs["val_loss"].tolist(), rel=1e-12)
