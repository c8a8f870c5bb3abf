"""The Lightning trainer as this pipeline uses it."""

import logging
import math
import sys
import time
import warnings
from collections.abc import Iterable

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from torch import nn

from pipeline.artifacts import PATIENT_ID, TRAIN, VAL
from pipeline.config import Config, Training
from pipeline.training.fold import Fold

log = logging.getLogger(__name__)


def build_trainer(training: Training, callbacks: Iterable[Callback]) -> Trainer:
    """A deterministic trainer; `training` holds numbers, no `auto`."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # Lightning's own use of torch, and nothing that a user could change.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    shown = RichProgressBar() if sys.stderr.isatty() else EpochLines()
    return Trainer(
        max_epochs=training.max_epochs,
        accumulate_grad_batches=training.accumulate,
        gradient_clip_val=training.clip_norm,
        precision=training.precision,
        accelerator=training.accelerator,
        devices=1,
        deterministic="warn",
        benchmark=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        logger=False,
        callbacks=[SeedEachStep(), *callbacks, shown],
    )


def describe_run(config: Config, fold: Fold, network: nn.Module) -> None:
    """One line: what is trained, on what, how."""
    trainable = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    counts = ", ".join(f"{count} {name}" for name, count in zip(fold.classes, fold.label_counts, strict=True))
    patients = {side: rows[PATIENT_ID].nunique() for side, rows in fold.rows.items()}
    training = fold.training
    by_gradient = f"{training.max_epochs} epochs, batch {training.batch_size} x {training.accumulate}"
    is_gpu = training.accelerator != "cpu" and torch.cuda.is_available()
    log.info(
        f"{config.name} on {config.cohort.name}, fold {config.fold}: {config.model.name}, {trainable:,} trainable "
        f"parameters; {len(fold.rows[TRAIN])} scans of {patients[TRAIN]} patients ({counts}), {patients[VAL]} patients "
        f"validate; {'a head on frozen features' if config.model.freeze else by_gradient}, "
        f"on {'GPU' if is_gpu else 'CPU'}"
    )


class SeedEachStep(Callback):
    """Make dropout and drop path a function of (seed, step), so that a resumed run draws what the whole run drew."""

    def __init__(self) -> None:
        self.seed = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seed = torch.initial_seed() % 2**31

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        torch.manual_seed(hash((self.seed, trainer.current_epoch, batch_idx)) % 2**63)


class EpochLines(Callback):
    """One line an epoch, for logs that are no terminal."""

    def __init__(self) -> None:
        self.started = math.nan
        self.first_epoch = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started, self.first_epoch = time.monotonic(), trainer.current_epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        done = trainer.current_epoch + 1
        spent = time.monotonic() - self.started
        left = spent / (done - self.first_epoch) * (trainer.max_epochs - done)
        figures = "  ".join(
            f"{name} {float(trainer.callback_metrics[name]):.3f}" for name in ("train_loss", "val_loss", "val_auroc")
        )
        log.info("epoch %d/%d  %s  %.0f s left", done, trainer.max_epochs, figures, left)
