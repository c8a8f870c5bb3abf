"""Build the Lightning trainer and fit one fold."""

import logging
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

from pipeline.config import Config, Training
from pipeline.core.columns import TRAIN
from pipeline.core.paths import CohortPaths
from pipeline.data.augmentation.mixing import Mixer
from pipeline.models import Network
from pipeline.training.callbacks import GradualUnfreezing
from pipeline.training.checkpoint import RunDirectory, AtomicCheckpointIO
from pipeline.training.distributed import sharding_strategy
from pipeline.training.fold_data import Fold
from pipeline.training.linear_probe import fit_frozen
from pipeline.training.losses import StageClassifiers, build_loss, stage_channels
from pipeline.training.module import Classifier

NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


@contextmanager
def explain_oom(training: Training) -> Iterator[None]:
    """Turn a lack of memory into a ValueError that says what to change; anything else passes."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ValueError(out_of_memory(training)) from error


def is_out_of_memory(error: Exception) -> bool:
    """A lack of memory, of the machine or of an accelerator, for which torch has no one type."""
    is_typed = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return is_typed or any(words in str(error) for words in NO_MEMORY)


def out_of_memory(training: Training) -> str:
    half, twice = max(1, training.batch_size // 2), training.accumulate * 2
    smaller = f"training.batch_size={half} training.accumulate={twice} (the same updates, but for a batch norm's), "
    thriftier = "training.precision=bf16-mixed, " if training.precision != "bf16-mixed" else ""
    return (
        f"training: out of memory with batches of {training.batch_size}; try "
        f"{smaller if training.batch_size > 1 else ''}{thriftier}a smaller preprocess.size_voxels, or a smaller model."
    )


log = logging.getLogger(__name__)
FIGURES = ("train_loss", "val_loss", "val_auroc")


class Clock:
    """How long the rest of a training takes, by the part of it that this process has seen."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.batches_before = 0

    def start(self, trainer: Trainer) -> None:
        self.started, self.batches_before = time.monotonic(), batches_done(trainer)

    def seconds_left(self, trainer: Trainer) -> float:
        done = batches_done(trainer)
        left = trainer.max_epochs * trainer.num_training_batches - done
        return (time.monotonic() - self.started) / max(1, done - self.batches_before) * left


def batches_done(trainer: Trainer) -> int:
    return trainer.fit_loop.epoch_loop.batch_progress.total.processed


def spoken(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class EpochLines(Callback):
    """One line an epoch, for logs that are no terminal."""

    def __init__(self) -> None:
        self.clock = Clock()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.clock.start(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            figures = "  ".join(f"{name} {float(trainer.callback_metrics[name]):.3f}" for name in FIGURES)
            place = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            log.info("%s  %s  %s left", place, figures, spoken(self.clock.seconds_left(trainer)))


class Bar(RichProgressBar):
    """Lightning's bar of an epoch's batches, with the last loss, the last validation and the time left in all."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.clock.start(trainer)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, int | str | float]:
        shown = super().get_metrics(trainer, pl_module)
        shown.pop("v_num", None)
        if pl_module.last_batch is not None:
            shown["loss"] = round(float(pl_module.last_batch.loss), 3)
        return shown | {"left": spoken(self.clock.seconds_left(trainer))}


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
        plugins=[AtomicCheckpointIO()],
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


def fit(network: Network, fold: Fold, config: Config, *, run_directory: RunDirectory, cohort: CohortPaths) -> None:
    """Fit `network`, leaving what `run_directory` keeps."""
    if not config.model.learns_by_gradient:
        fit_frozen(network, fold, run_directory, cohort, config.fold_seed)
        return
    unfreezing = [GradualUnfreezing(fold.training.unfreeze_every)] if fold.training.unfreeze_every else []
    trainer = build_trainer(fold.training, [*unfreezing, *run_directory.callbacks])
    with explain_oom(fold.training):
        classifier = build_classifier(network, fold, config)
        trainer.fit(classifier, fold.scans, ckpt_path=run_directory.resume_from, weights_only=True)


def build_classifier(network: Network, fold: Fold, config: Config) -> Classifier:
    """The Lightning module of a network on a fold."""
    training, augmentation = fold.training, config.augmentation
    mixer = Mixer(augmentation.mixup, augmentation.cutmix, config.fold_seed)
    stage_classifiers = None
    if training.deep_supervision:
        channels = stage_channels(network, (fold.plan.in_channels, *fold.plan.size_voxels))
        stage_classifiers = StageClassifiers(channels, len(fold.classes), training.deep_supervision)
    if training.compile:
        network.compile()
    return Classifier(
        network,
        build_loss(training, fold.task, fold.class_counts, len(fold.rows[TRAIN])),
        training,
        task=fold.task,
        stage_classifiers=stage_classifiers,
        mix=mixer if mixer.is_on else None,
    )
