"""Fit one fold: the Lightning trainer, its callbacks in order, and the module that it trains."""

import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from pipeline.config import Config, Training
from pipeline.core.columns import PATIENT_ID, TRAIN, VAL
from pipeline.core.paths import CohortPaths
from pipeline.data.augmentation.mixing import Mixer
from pipeline.models import Network
from pipeline.models.stack import Stack
from pipeline.training.callbacks import (
    EarlyStopping,
    EMAWeights,
    GradualUnfreezing,
    History,
    QuantizationAwareTraining,
    SaveBest,
    SaveLast,
    SeedEachStep,
)
from pipeline.training.checkpoint import RunDirectory, save_atomically
from pipeline.training.distributed import sharding_strategy
from pipeline.training.errors import explain_oom
from pipeline.training.fold_data import Fold
from pipeline.training.losses import StageClassifiers, build_loss, stage_channels
from pipeline.training.module import Classifier
from pipeline.training.progress import progress_callback
from pipeline.training.signals import GracefulShutdown

log = logging.getLogger(__name__)


def fit(
    network: Network,
    fold: Fold,
    config: Config,
    *,
    run_directory: RunDirectory,
    cohort: CohortPaths,
    loggers: Sequence[Callback] = (),
) -> None:
    """Train `network` and leave the files of `run_directory`; a training that was interrupted resumes."""
    if run_directory.is_trained:
        log.info("%s: all epochs are done; closing the training", run_directory.paths.folder)
        return
    if not config.model.learns_by_gradient:
        # Needs scikit-learn, and no other training does.
        from pipeline.training.linear_probe import fit_linear_probe
        from pipeline.training.stacking import fit_stack

        fit_head = fit_stack if isinstance(network, Stack) else fit_linear_probe
        fit_head(network, fold, run_directory, cohort, config.seed)
        return
    trainer = build_trainer(fold.training, build_callbacks(fold.training, run_directory, loggers))
    with explain_oom(fold.training):
        classifier = build_classifier(network, fold, config)
        trainer.fit(classifier, fold.scans, ckpt_path=run_directory.resume_from, weights_only=True)


def build_callbacks(training: Training, run_directory: RunDirectory, loggers: Sequence[Callback]) -> list[Callback]:
    """All callbacks, in the order in which they act."""
    save_last = SaveLast(run_directory)
    return [
        SeedEachStep(),
        *([GradualUnfreezing(training.unfreeze_every)] if training.unfreeze_every else []),
        # Saves while averaged and quantized weights are swapped in; those are swapped out in the reverse order.
        SaveBest(run_directory, training.monitor),
        *([QuantizationAwareTraining()] if training.quantization_aware else []),
        *([EMAWeights(training.ema_decay)] if training.ema_decay else []),
        *([EarlyStopping(training.monitor, training.patience)] if training.patience else []),
        History(run_directory),
        # Read the new row of history.csv; no checkpoint may be ahead of what they log.
        *loggers,
        # After every callback whose state it saves.
        save_last,
        GracefulShutdown(save_last.save),
        progress_callback(),
    ]


def build_trainer(training: Training, callbacks: list[Callback]) -> Trainer:
    """A deterministic trainer; `training` has no `auto` left."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Caused by Lightning's own use of torch; a user cannot change it.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    # Every process logs the same metrics: they are gathered before.
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
    return Trainer(
        max_epochs=training.max_epochs,
        accumulate_grad_batches=training.accumulate,
        gradient_clip_val=training.clip_norm,
        precision=training.precision,
        accelerator=training.accelerator,
        devices=training.devices,
        num_nodes=training.nodes,
        strategy=sharding_strategy(training) if training.strategy == "fsdp" else training.strategy,
        # Our sampler distributes the scans over processes.
        use_distributed_sampler=False,
        deterministic="warn",
        benchmark=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        logger=False,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
    )


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write Lightning's checkpoints atomically and directly to disk.

    Lightning itself first makes a copy in memory, then one in the temporary folder.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: None = None) -> None:
        save_atomically(checkpoint, Path(path))


def training_device(training: Training) -> torch.device:
    """The device of the trainer, or of its first process."""
    has_gpu = torch.accelerator.is_available()
    if training.accelerator == "gpu" and not has_gpu:
        raise ValueError("training.accelerator: gpu, but torch finds none on this machine; set it to cpu or auto.")
    return torch.accelerator.current_accelerator() if has_gpu and training.accelerator != "cpu" else torch.device("cpu")


def build_classifier(network: Network, fold: Fold, config: Config) -> Classifier:
    """The Lightning module that trains `network` on a fold."""
    training, augmentation = fold.training, config.augmentation
    mixer = Mixer(augmentation.mixup, augmentation.cutmix, config.seed)
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
        val_patients=fold.rows[VAL][PATIENT_ID].tolist(),
    )
