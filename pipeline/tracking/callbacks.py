"""Watching a training as it runs: each update goes to the local log, and from there to the tracker."""

import math
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from lightning import Callback, LightningModule, Trainer

from pipeline.config import Config
from pipeline.core.io import write_json
from pipeline.core.paths import Artifacts, FoldPaths
from pipeline.tracking.panels import SlicePanel
from pipeline.tracking.payload import fold_parcel
from pipeline.tracking.privacy import read_key
from pipeline.tracking.step_log import (
    Record,
    StepLog,
    StepRow,
    best_figures,
    epoch_figures,
    figures_by_step,
    read_epochs,
    step_figures,
)
from pipeline.tracking.sync import last_step, parts_of, set_aside
from pipeline.tracking.wandb_run import TrackedRun, open_run
from pipeline.training.checkpoint import RunDirectory, TrainedCheckpoint
from pipeline.training.distributed import is_rank_zero


@dataclass
class Update:
    """What is gathered between two updates of the weights."""

    losses: list[float] = field(default_factory=list)
    waiting: float = 0.0
    working: float = 0.0
    learning_rate: float = math.nan

    @property
    def seconds(self) -> float:
        return self.waiting + self.working


class Watch(Callback):
    """Log every update with its loss, rate, gradient norm, time and memory, and every epoch with its figures.

    It stands after the callback that writes history.csv and before the one that writes checkpoints: no checkpoint is
    ahead of the log. Of several processes the first one's batches are logged.
    """

    def __init__(self, paths: FoldPaths, run: TrackedRun, logged_step: int) -> None:
        """`logged_step` is the last step that the tracker already has, -1 for none."""
        self.paths = paths
        self.step_log = StepLog(paths.steps)
        self.run = run
        self.logged_step = logged_step
        self.update = Update()
        self.step = 0
        self.mark = self.began = time.perf_counter()
        self.earlier_seconds = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.step = trainer.global_step
        kept = self.step_log.begin(self.step)
        self.earlier_seconds = float(kept["elapsed_seconds"].max()) if len(kept) else 0.0
        self.repeat(kept)
        self.mark = self.began = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Validation and writing checkpoints are nothing that the first step waits for.
        self.mark = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.update.waiting += self.lap()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self.update.learning_rate = max(group["lr"] for group in optimizer.param_groups)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Lightning has divided the loss by the number of batches whose gradients are summed.
        self.update.losses.append(float(outputs["loss"]) * trainer.accumulate_grad_batches)
        self.update.working += self.lap()
        # The last update of an epoch waits for the epoch's figures: a step is told to the tracker once and whole.
        if trainer.global_step > self.step and not trainer.is_last_batch:
            row = self.write_row(trainer, pl_module)
            self.tell(row.step, step_figures(row))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        row = self.write_row(trainer, pl_module)
        self.tell(row.step, step_figures(row) | read_epochs(self.paths).get(row.step, {}))

    def lap(self) -> float:
        """Seconds since the last look at the clock."""
        before, self.mark = self.mark, time.perf_counter()
        return self.mark - before

    def write_row(self, trainer: Trainer, pl_module: LightningModule) -> StepRow:
        """Append what was gathered since the last update, and gather anew."""
        update, self.update, self.step = self.update, Update(), trainer.global_step
        row = StepRow(
            step=self.step,
            epoch=trainer.current_epoch,
            loss=sum(update.losses) / len(update.losses),
            learning_rate=update.learning_rate,
            gradient_norm=pl_module.gradient_norm,
            seconds=update.seconds,
            waiting_share=update.waiting / update.seconds,
            memory_mb=peak_memory_mb(pl_module.device),
            elapsed_seconds=self.earlier_seconds + time.perf_counter() - self.began,
        )
        self.step_log.append(row)
        return row

    def tell(self, step: int, figures: dict[str, float]) -> None:
        """Send one step, unless an earlier sitting did."""
        if step > self.logged_step:
            self.run.log(step, figures)
            self.logged_step = step

    def repeat(self, rows: pd.DataFrame) -> None:
        """Send the steps of earlier sittings that a kill kept from the tracker."""
        for step, figures in figures_by_step(self.paths, rows).items():
            self.tell(step, figures)

    def complete(self) -> None:
        """Log the one row of a training without updates, which fits a head on frozen features."""
        if self.step:
            return
        self.step_log.begin(0)
        memory, seconds = peak_memory_mb(torch.device("cpu")), time.perf_counter() - self.began
        row = StepRow(0, 0, math.nan, math.nan, math.nan, math.nan, math.nan, memory, seconds)
        self.step_log.append(row)
        self.tell(0, step_figures(row) | read_epochs(self.paths).get(0, {}))


def peak_memory_mb(device: torch.device) -> float:
    """Most memory in use so far: of a GPU, or of the process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


@contextmanager
def watch_training(config: Config, run_directory: RunDirectory) -> Iterator[None]:
    """Log the training that runs inside the block; of several processes the first alone logs.

    A training that goes on after a kill goes on with the same W&B run, and sends what that run lacks.
    """
    if not is_rank_zero():
        yield
        return
    paths, goes_on = run_directory.paths, run_directory.resume_from is not None
    record = Record(id_in_sweep() or run_directory.key, run_directory.key, "running")
    record.write(paths.tracking)
    run, logged_step = begin(config, record, goes_on=goes_on)
    watch = Watch(paths, run, logged_step)
    run_directory.admit([watch, *panels(config, run_directory, run)])
    try:
        yield
        watch.complete()
        note_best(paths, run)
        record = record.ended("finished")
    except BaseException:
        record = record.ended("stopped")
        raise
    finally:
        record.write(paths.tracking)
        run.finish()


def id_in_sweep() -> str | None:
    """The agent of a sweep knows its trials by ids that it gives."""
    return os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None


def begin(config: Config, record: Record, *, goes_on: bool) -> tuple[TrackedRun, int]:
    """The W&B run, and the last step that it has; one that starts anew has none."""
    folder = Artifacts(config.root).wandb
    if not goes_on:
        set_aside(folder, record.run_id)
    logged_step = last_step(parts_of(folder, record.run_id)) if goes_on else -1
    run = open_run(fold_parcel(config, record.run_id, record.key), folder, goes_on=goes_on)
    return run, max(logged_step, run.last_step)


def panels(config: Config, run_directory: RunDirectory, run: TrackedRun) -> list[Callback]:
    """None where pixels may not leave."""
    settings = config.tracking
    if not (settings.log_images and run.is_open):
        return []
    key = read_key(Artifacts(config.root).pseudonym_key)
    return [SlicePanel(run, run_directory.fold.classes, run_directory.fold.task, every=settings.panel_every, key=key)]


def note_best(paths: FoldPaths, run: TrackedRun) -> None:
    """Write the figures of the epoch that best.ckpt comes from, and tell the tracker."""
    history = pd.read_csv(paths.history).set_index("epoch", drop=False)
    epoch = TrainedCheckpoint.read(paths.best).epoch
    best = {"epoch": epoch, **epoch_figures(history.loc[epoch].to_dict())}
    write_json(paths.best_epoch, best)
    run.summarise(best_figures(best))
