"""The Lightning trainer as this pipeline uses it."""

import logging
import sys
import warnings
from collections.abc import Iterable

import torch
from lightning import Callback, LightningModule, Trainer

from pipeline.config import Training
from pipeline.training.keeping.resume import WholeFiles
from pipeline.training.sharding import sharding_strategy
from pipeline.training.showing import Bar, EpochLines


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
        strategy=sharding_strategy(training) if training.strategy == "fsdp" else training.strategy,
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
        plugins=[WholeFiles()],
    )


def device_of(training: Training) -> torch.device:
    """Where the trainer trains, or the first of its processes."""
    has_gpu = torch.accelerator.is_available()
    if training.accelerator == "gpu" and not has_gpu:
        raise ValueError("training.accelerator: gpu, but torch sees none here; set it to cpu or auto.")
    return torch.accelerator.current_accelerator() if has_gpu and training.accelerator != "cpu" else torch.device("cpu")


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
