"""Log a training while it runs: every update to the local log, and from there to the tracker."""

import logging
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
from pipeline.core.io import read_json, write_json
from pipeline.core.paths import Artifacts, TrainingPaths
from pipeline.core.tables import parse_values, read_table
from pipeline.tracking.panels import SlicePanel
from pipeline.tracking.payload import training_payload
from pipeline.tracking.privacy import read_key
from pipeline.tracking.step_log import (
    StepLog,
    StepRow,
    TrainingRecord,
    best_metrics,
    epoch_metrics,
    metrics_by_step,
    read_epoch_metrics,
    read_steps,
    step_metrics,
)
from pipeline.tracking.tracked_run import TrackedRun, open_run
from pipeline.tracking.wandb_files import last_step, run_folders, set_aside
from pipeline.training.checkpoint import RunDirectory, TrainedCheckpoint
from pipeline.training.distributed import is_rank_zero

log = logging.getLogger(__name__)


@dataclass
class UpdateStats:
    """Measurements between two updates of the weights."""

    losses: list[float] = field(default_factory=list)
    waiting_s: float = 0.0
    computing_s: float = 0.0
    learning_rate: float = math.nan

    @property
    def seconds(self) -> float:
        return self.waiting_s + self.computing_s


class StepLogger(Callback):
    """Log each update with its loss, learning rate, gradient norm, time and memory, and each epoch with its metrics.

    Acts after the callback that writes history.csv and before the one that writes checkpoints, so that no checkpoint
    is ahead of the log. Of several processes only the first logs, with its own batches.
    """

    def __init__(self, paths: TrainingPaths, run: TrackedRun, logged_step: int) -> None:
        """`logged_step` is the last step that the tracker already has, or -1."""
        self.paths = paths
        self.step_log = StepLog(paths.steps)
        self.run = run
        self.logged_step = logged_step
        self.stats = UpdateStats()
        self.step = 0
        self.lap_start = self.train_start = time.perf_counter()
        self.earlier_seconds = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.step = trainer.global_step
        kept = self.step_log.begin(self.step)
        self.earlier_seconds = float(kept["elapsed_seconds"].max()) if len(kept) else 0.0
        self.send_missing(kept)
        self.lap_start = self.train_start = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # The first step of an epoch does not wait for validation and checkpoints.
        self.lap_start = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.stats.waiting_s += self.lap()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self.stats.learning_rate = max(group["lr"] for group in optimizer.param_groups)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Lightning divided the loss by the number of batches whose gradients are accumulated.
        self.stats.losses.append(float(outputs["loss"]) * trainer.accumulate_grad_batches)
        self.stats.computing_s += self.lap()
        # The last update of an epoch waits for the epoch's metrics: a step is sent once, complete.
        if trainer.global_step > self.step and not trainer.is_last_batch:
            row = self.write_row(trainer, pl_module)
            self.send(row.step, step_metrics(row))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        row = self.write_row(trainer, pl_module)
        self.send(row.step, step_metrics(row) | read_epoch_metrics(self.paths).get(row.step, {}))

    def lap(self) -> float:
        """Seconds since the last lap."""
        previous, self.lap_start = self.lap_start, time.perf_counter()
        return self.lap_start - previous

    def write_row(self, trainer: Trainer, pl_module: LightningModule) -> StepRow:
        """Append the measurements since the last update, and reset them."""
        stats, self.stats, self.step = self.stats, UpdateStats(), trainer.global_step
        row = StepRow(
            step=self.step,
            epoch=trainer.current_epoch,
            loss=sum(stats.losses) / len(stats.losses),
            learning_rate=stats.learning_rate,
            gradient_norm=pl_module.gradient_norm,
            seconds=stats.seconds,
            waiting_share=stats.waiting_s / stats.seconds,
            memory_mb=peak_memory_mb(pl_module.device),
            elapsed_seconds=self.earlier_seconds + time.perf_counter() - self.train_start,
        )
        self.step_log.append(row)
        return row

    def send(self, step: int, metrics: dict[str, float]) -> None:
        """Send one step to the tracker, unless it has that step."""
        if step > self.logged_step:
            self.run.log(step, metrics)
            self.logged_step = step

    def send_missing(self, rows: pd.DataFrame) -> None:
        """Send the steps of the killed training that the tracker lacks."""
        for step, metrics in metrics_by_step(self.paths, rows).items():
            self.send(step, metrics)

    def complete(self, *, is_trained: bool) -> None:
        """Send what the tracker lacks of a training that was over before, or of one without updates.

        The latter fits a head on frozen features, and logs a single row.
        """
        if is_trained:
            self.send_missing(read_steps(self.paths.steps))
        if self.step or is_trained:
            return
        self.step_log.begin(0)
        memory, seconds = peak_memory_mb(torch.device("cpu")), time.perf_counter() - self.train_start
        row = StepRow(0, 0, math.nan, math.nan, math.nan, math.nan, math.nan, memory, seconds)
        self.step_log.append(row)
        self.send(0, step_metrics(row) | read_epoch_metrics(self.paths).get(0, {}))


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory so far: of the GPU, or of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


@contextmanager
def track_training(config: Config, run_directory: RunDirectory) -> Iterator[list[Callback]]:
    """Log the training that runs inside the block with the callbacks that this yields; only the first process logs.

    A training that resumes, or was over and is only closed, resumes its W&B run, and sends the steps which that lacks.
    """
    if not is_rank_zero():
        yield []
        return
    paths, resume = run_directory.paths, run_directory.resume_from is not None or run_directory.is_trained
    record = TrainingRecord(sweep_run_id() or run_directory.key, run_directory.key, "running")
    record.write(paths.tracking)
    run, logged_step = open_training_run(config, record, resume=resume)
    step_logger = StepLogger(paths, run, logged_step)
    try:
        yield [step_logger, *slice_panels(config, run_directory, run)]
        step_logger.complete(is_trained=run_directory.is_trained)
        best = best_epoch(paths)
        run.update_summary(best_metrics(best))
        record = record.ended("finished")
    except BaseException:
        record = record.ended("stopped")
        raise
    finally:
        record.write(paths.tracking)
        run.finish()
    # Last: where it is missing, the same command closes the training again.
    write_json(paths.best_epoch, best)


def sweep_run_id() -> str | None:
    """The id that the agent of a sweep gave to this trial."""
    return os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None


def open_training_run(config: Config, record: TrainingRecord, *, resume: bool) -> tuple[TrackedRun, int]:
    """The W&B run, and the last step that it has, -1 for none."""
    folder = Artifacts(config.root).wandb
    if not resume:
        set_aside(folder, record.run_id)
    logged_step = last_step(run_folders(folder, record.run_id)) if resume else -1
    run = open_run(training_payload(config, record.run_id, record.key), folder, resume=resume)
    return run, max(logged_step, run.last_step)


def slice_panels(config: Config, run_directory: RunDirectory, run: TrackedRun) -> list[Callback]:
    """No panel where images may not be sent."""
    settings = config.tracking
    if not (settings.log_images and run.is_open):
        return []
    try:
        key = read_key(Artifacts(config.root).pseudonym_key)
    except (ValueError, OSError) as error:
        log.warning("tracking: no panels of sample slices, because ids cannot be replaced: %s", error)
        return []
    return [SlicePanel(run, run_directory.fold.classes, run_directory.fold.task, every=settings.panel_every, key=key)]


def best_epoch(paths: TrainingPaths) -> dict[str, Any]:
    """The content of best.json: the metrics of the epoch that best.ckpt comes from, and the members of a stack."""
    history = parse_values(read_table(paths.history)).set_index("epoch", drop=False)
    epoch = TrainedCheckpoint.read(paths.best).epoch
    members = {"members": read_json(paths.members)} if paths.members.is_file() else {}
    return {"epoch": epoch, **epoch_metrics(history.loc[epoch].to_dict()), **members}
