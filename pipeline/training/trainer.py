"""The Lightning trainer as this pipeline uses it."""

import logging
import sys
import warnings
from collections.abc import Iterable

import torch
from lightning import Callback, LightningModule, Trainer
from torch import nn

from pipeline.artifacts import PATIENT_ID, TRAIN, VAL
from pipeline.config import Config, Training
from pipeline.training.fold import Fold
from pipeline.training.processes import num_processes
from pipeline.training.showing import Bar, EpochLines

log = logging.getLogger(__name__)


def build_trainer(training: Training, callbacks: Iterable[Callback]) -> Trainer:
    """A deterministic trainer; `training` holds numbers, no `auto`."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Lightning's own use of torch, and nothing that a user could change.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    # Every process logs the same figures: they are gathered before.
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
    shown = Bar() if sys.stderr.isatty() else EpochLines()
    return Trainer(
        max_epochs=training.max_epochs,
        accumulate_grad_batches=training.accumulate,
        gradient_clip_val=training.clip_norm,
        precision=training.precision,
        accelerator=training.accelerator,
        devices=training.devices,
        num_nodes=training.nodes,
        strategy=training.strategy,
        # The sampler itself deals each process its share.
        use_distributed_sampler=False,
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
    counts = ", ".join(f"{count} {name}" for name, count in zip(fold.classes, fold.class_counts, strict=True))
    patients = {side: rows[PATIENT_ID].nunique() for side, rows in fold.rows.items()}
    training = fold.training
    scans_an_update = training.batch_size * training.accumulate * num_processes(training)
    by_gradient = (
        f"{training.max_epochs} epochs, {scans_an_update} scans an update (batch {training.batch_size} x "
        f"{training.accumulate} accumulated x {num_processes(training)} processes), rate {training.learning_rate:g}"
        f"{memory_forecast(fold)}"
    )
    is_gpu = training.accelerator != "cpu" and torch.cuda.is_available()
    log.info(
        f"{config.name} on {config.cohort.name}, fold {config.fold}: {config.model.name}, {trainable:,} trainable "
        f"parameters; {len(fold.rows[TRAIN])} scans of {patients[TRAIN]} patients ({counts}), {patients[VAL]} patients "
        f"validate; {'a head on frozen features' if config.model.freeze else by_gradient}, "
        f"on {'GPU' if is_gpu else 'CPU'}"
    )


def memory_forecast(fold: Fold) -> str:
    """The plan's forecast for a step, scaled to the batch; nothing where the plan has none."""
    if fold.plan.forecast is None:
        return ""
    megabytes = fold.plan.forecast.memory_mb * fold.training.batch_size / fold.plan.batch_size
    return f", about {megabytes:.0f} MB a step by the plan's forecast"


class SeedEachStep(Callback):
    """Make dropout and drop path a function of (seed, step), so that a resumed run draws what the whole run drew."""

    def __init__(self) -> None:
        self.seed = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seed = torch.initial_seed() % 2**31

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        place = (self.seed, trainer.current_epoch, batch_idx)
        # Each process drops units of its own, the first one those that it drops when it is alone.
        torch.manual_seed(hash((*place, trainer.global_rank) if trainer.global_rank else place) % 2**63)
