"""The local log of a training, and what the tracker gets of it."""

import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from lightning import LightningModule, Trainer, seed_everything
from torch.utils.data import DataLoader

from pipeline.config import Tracking
from pipeline.core.paths import TrainingPaths
from pipeline.tracking.callbacks import StepLogger
from pipeline.tracking.payload import RunPayload
from pipeline.tracking.step_log import COLUMNS, StepLog, StepRow, read_steps
from pipeline.tracking.tracked_run import TrackedRun, open_run
from pipeline.training.distributed import clip_gradients
from tests.tracking.offline import OfflineRun

SILENT = TrackedRun(None)


class Line(LightningModule):
    """Least squares on one weight, so that losses and gradients can be told by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: torch.Tensor, batch_index: int) -> torch.Tensor:
        return ((self.weight - batch) ** 2).mean()

    def configure_gradient_clipping(self, optimizer, gradient_clip_val, gradient_clip_algorithm=None) -> None:
        self.gradient_norm = float(clip_gradients(list(self.parameters()), math.inf))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.25)


def fit(watch: StepLogger, *, accumulate: int = 1, epochs: int = 1) -> None:
    seed_everything(0, verbose=False)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = Trainer(
        max_epochs=epochs, accumulate_grad_batches=accumulate, callbacks=[watch], enable_model_summary=False, **quiet
    )
    trainer.fit(Line(), DataLoader(torch.tensor([1.0, 3.0, 2.0, 2.0])))


@pytest.fixture
def paths(tmp_path: Path) -> TrainingPaths:
    return TrainingPaths(tmp_path)


def test_a_row_an_update_has_loss_gradient_and_rate_worked_by_hand(paths: TrainingPaths) -> None:
    fit(StepLogger(paths, SILENT, -1))
    rows = read_steps(paths.steps)
    # The weight goes from 0 half of the way to each target: 0.5, 1.75, 1.875.
    weights, targets = [0.0, 0.5, 1.75, 1.875], [1.0, 3.0, 2.0, 2.0]
    assert rows["loss"].tolist() == [(w - t) ** 2 for w, t in zip(weights, targets, strict=True)]
    assert rows["gradient_norm"].tolist() == [abs(2 * (w - t)) for w, t in zip(weights, targets, strict=True)]
    assert rows["step"].tolist() == [1, 2, 3, 4] and set(rows["learning_rate"]) == {0.25}


def test_an_update_over_several_batches_has_their_mean_loss(paths: TrainingPaths) -> None:
    fit(StepLogger(paths, SILENT, -1), accumulate=2)
    # Targets 1 and 3 from 0, then 2 and 2 from half of their mean.
    assert read_steps(paths.steps)["loss"].tolist() == [5.0, 1.0]


def test_times_add_up_and_waiting_is_a_share(paths: TrainingPaths) -> None:
    fit(StepLogger(paths, SILENT, -1), epochs=2)
    rows = read_steps(paths.steps)
    assert rows["waiting_share"].between(0, 1).all() and (rows["seconds"] > 0).all()
    assert rows["elapsed_seconds"].is_monotonic_increasing
    assert rows["seconds"].sum() <= rows["elapsed_seconds"].iloc[-1]


def row(step: int) -> StepRow:
    return StepRow(step, step // 2, 1 / step, 0.1, 2.0, 0.5, 0.25, 100.0, 10.0 * step)


def test_the_log_keeps_the_steps_before_a_checkpoint_and_drops_later_ones_and_half_a_line(paths: TrainingPaths) -> None:
    log = StepLog(paths.steps)
    log.begin(0)
    for step in range(1, 7):
        log.append(row(step))
    with paths.steps.open("a") as stream:
        stream.write("7,3,0.1")
    assert log.begin(4)["step"].tolist() == [1, 2, 3, 4]
    log.append(row(5))
    rows = read_steps(paths.steps)
    assert rows["step"].tolist() == [1, 2, 3, 4, 5] and rows["loss"].tolist() == [1 / step for step in range(1, 6)]
    assert log.begin(0).empty and tuple(pd.read_csv(paths.steps).columns) == COLUMNS


def test_steps_that_a_kill_kept_from_the_tracker_are_sent_and_none_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path))
    paths = TrainingPaths(tmp_path)
    pd.DataFrame([{"epoch": 1, "step": 4, "val_loss": 0.5, "val_auroc": math.nan}]).to_csv(paths.history, index=False)
    parcel = RunPayload("abc123", "name", "group", "train", (), {}, Tracking(mode="offline"))
    run = open_run(parcel, tmp_path / "wandb", resume=True)
    StepLogger(paths, run, logged_step=2).send_missing(pd.DataFrame([vars(row(step)) for step in range(1, 6)]))
    run.finish()
    history = OfflineRun(tmp_path, "abc123").history.set_index("_step")
    assert history.index.tolist() == [3, 4, 5]
    assert history["step/loss"].tolist() == [1 / 3, 1 / 4, 1 / 5]
    assert history["val_loss"].dropna().to_dict() == {4: 0.5} and "val_auroc" not in history
