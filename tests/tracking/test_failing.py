"""Real failures of the tracker, and trainings that do not mind."""

import re
import signal
import socket
from pathlib import Path

import pandas as pd
import pytest
import torch

from pipeline.core.paths import TrainingPaths
from pipeline.tracking.privacy import pseudonym, read_key
from pipeline.tracking.step_log import TrainingRecord, read_record
from pipeline.tracking.wandb_files import SUPERSEDED
from pipeline.training.checkpoint import TrainedCheckpoint
from tests.conftest import Commands
from tests.tracking.offline import OfflineRun, copy_untrained
from tests.tracking.ten_steps import break_wandb, log_ten_steps
from tests.tracking.wandb_server import wandb_server

pytestmark = pytest.mark.slow
FOLD = Path("runs/cubes/tiny/fold-0-seed-0")
IMAGES = ("tracking.log_images=true", "tracking.panel_every=2")


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


def test_a_tracker_whose_process_is_stopped_does_not_hold_up_the_end(tmp_path: Path) -> None:
    done = log_ten_steps(tmp_path, "stop", "impatient")
    assert done.returncode == 0 and done.stdout.strip() == "silent"
    assert "no answer from its process within 4 s" in done.stderr and done.stderr.count("tracking:") == 1


def test_a_server_that_accepts_and_never_answers_means_writing_offline(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        key = {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": address, "NO_PROXY": "127.0.0.1"}
        done = log_ten_steps(tmp_path, "impatient", **key)
    assert done.returncode == 0 and done.stdout.strip() == "open", done.stderr
    assert "did not start online" in done.stderr and "writing an offline run" in done.stderr
    assert OfflineRun(tmp_path, "abc123").history["x"].tolist() == list(range(10))


@pytest.mark.parametrize("mode", [{"WANDB_API_KEY": ""}, {"WANDB_MODE": "offline"}])
def test_an_offline_run_asks_the_server_for_nothing_and_tells_it_nothing(tmp_path: Path, mode: dict[str, str]) -> None:
    with wandb_server() as server:
        done = log_ten_steps(tmp_path, **{**server.environment, **mode})
        assert done.stdout.strip() == "open" and server.received == []
    assert OfflineRun(tmp_path, "abc123").history["x"].tolist() == list(range(10))


def test_without_tracking_wandb_is_not_even_imported(tmp_path: Path) -> None:
    done = log_ten_steps(tmp_path, "none", PYTHONPATH=break_wandb(tmp_path))
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "silent", "")


def test_a_record_of_another_version_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text('{"run_id": "abc123", "status": "running", "parts": []}')
    (tmp_path / "half.json").write_text('{"run_id"')
    assert read_record(tmp_path / "old.json") is None and read_record(tmp_path / "half.json") is None
    TrainingRecord("abc123", "key", "running").write(tmp_path / "new.json")
    assert read_record(tmp_path / "new.json") == TrainingRecord("abc123", "key", "running")


@pytest.fixture
def ready(finished: Path, tmp_path: Path) -> Path:
    return copy_untrained(finished, tmp_path / "project")


def kill_in_checkpoint(folder: Path, number: int, *words: str) -> None:
    """Start the training, which ends without warning in the course of its checkpoint with this number."""
    killed = Commands(folder).python("-m", "tests.training.killed_command", "last.ckpt", str(number), *words)
    assert killed.returncode == -signal.SIGKILL, killed.stderr


@pytest.fixture(scope="module")
def restarted(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was killed before its first checkpoint, and given again; it may send pixels."""
    folder = copy_untrained(finished, tmp_path_factory.mktemp("restarted") / "project")
    kill_in_checkpoint(folder, 1, *IMAGES)
    assert not (folder / FOLD / "last.ckpt").is_file()
    Commands(folder)("train", *IMAGES)
    return folder


def test_training_gives_the_same_whether_wandb_is_missing_works_or_gets_pictures(
    finished: Path, restarted: Path, ready: Path
) -> None:
    commands = Commands(ready)
    commands.environment["PYTHONPATH"] = break_wandb(ready)
    assert "W&B did not start" in commands("train").stderr and not list(ready.glob("wandb/*run-*"))
    folders = (ready, finished, restarted)
    missing, *others = [TrainedCheckpoint.read(folder / FOLD / "best.ckpt").state_dict for folder in folders]
    assert all(torch.equal(missing[name], other[name]) for name in missing for other in others)
    assert len({(folder / FOLD / "history.csv").read_text() for folder in folders}) == 1
    assert len(pd.read_csv(ready / FOLD / "steps.csv")) == 9
    assert {read_record(TrainingPaths(folder / FOLD).tracking).status for folder in (ready, restarted)} == {"finished"}


def test_a_training_that_starts_anew_under_its_id_leaves_one_part_with_every_step_once(restarted: Path) -> None:
    run = OfflineRun(restarted, read_record(TrainingPaths(restarted / FOLD).tracking).run_id)
    assert len(run.parts) == 1 and run.history["_step"].tolist() == list(range(1, 10))
    # What the killed sitting wrote is kept, where no upload looks.
    aside = list((restarted / "wandb" / SUPERSEDED).iterdir())
    assert [part.name.endswith(run.run_id) for part in aside] == [True]


def test_every_second_epoch_has_a_panel_of_slices_under_pseudonyms(restarted: Path) -> None:
    run = OfflineRun(restarted, read_record(TrainingPaths(restarted / FOLD).tracking).run_id)
    panels = [row["item"] for row in run.of_kind("history") if any(name.startswith("slices") for name in row["item"])]
    assert [(row["_step"], row["slices.count"]) for row in panels] == [(6, 8)]
    splits = pd.read_csv(restarted / "data/cubes/splits.csv", dtype=str)
    key = read_key(restarted / ".pseudonym_key")
    known = {pseudonym(row.scan_id, key): row.label for row in splits.itertuples() if row.fold == "0"}
    said = re.compile(r"(\w+): (\w+); predicted plain ([01]\.\d\d), cube ([01]\.\d\d)")
    captions = [said.fullmatch(caption) for caption in panels[0]["slices.captions"]]
    assert all(known[found[1]] == found[2] for found in captions)
    assert len({found[1] for found in captions}) == 8
    assert all(abs(float(found[3]) + float(found[4]) - 1) < 0.02 for found in captions)


def test_a_killed_and_resumed_training_is_one_run_with_every_step_once(ready: Path) -> None:
    kill_in_checkpoint(ready, 2)
    assert read_record(TrainingPaths(ready / FOLD).tracking).status == "running"
    assert "resuming from epoch" in Commands(ready)("train").stderr
    record, steps = read_record(TrainingPaths(ready / FOLD).tracking), pd.read_csv(ready / FOLD / "steps.csv")
    run = OfflineRun(ready, record.run_id)
    assert record.status == "finished" and len(run.parts) == 2 and run.of_kind("run")[-1]["resume"]
    history = run.history.set_index("_step")
    assert history.index.tolist() == steps["step"].tolist() == list(range(1, 10))
    assert history["step/loss"].tolist() == pytest.approx(steps["loss"].tolist(), rel=1e-12)
    epochs = pd.read_csv(ready / FOLD / "history.csv")
    assert history["val_loss"].dropna().tolist() == pytest.approx(epochs["val_loss"].tolist(), rel=1e-12)


def test_a_training_killed_after_its_last_epoch_is_closed_and_not_repeated(finished: Path, ready: Path) -> None:
    commands = Commands(ready)
    # tracking.json says `running` first, and how it ended last, before the W&B run is finished.
    program = ("-m", "tests.training.killed_command", "tracking.json", "2")
    assert commands.python(*program).returncode == -signal.SIGKILL
    files = TrainingPaths(ready / FOLD)
    assert read_record(files.tracking).status == "running" and not files.best_epoch.exists()
    weights, steps = files.best.read_bytes(), files.steps.read_bytes()
    said = commands("train").stderr
    assert "all epochs are done; closing the training" in said and "epoch 1" not in said
    assert (files.best.read_bytes(), files.steps.read_bytes()) == (weights, steps)
    own = TrainingPaths(finished / FOLD)
    assert weights == own.best.read_bytes() and files.best_epoch.read_bytes() == own.best_epoch.read_bytes()
    record = read_record(files.tracking)
    assert record.status == "finished"
    run = OfflineRun(ready, record.run_id)
    assert run.history["_step"].tolist() == list(range(1, 10)) and "best/val_auroc" in run.summary
