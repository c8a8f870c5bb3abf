"""Log one line before a training: what is trained, on what, how, and how much memory it needs."""

import logging

import torch
from torch import nn

from pipeline.config import Config
from pipeline.core.columns import LABEL, LABEL_SEPARATOR, PATIENT_ID, TRAIN, VAL
from pipeline.models.cost import cost_of
from pipeline.training.auto import build_network
from pipeline.training.distributed import num_processes
from pipeline.training.fold_data import Fold
from pipeline.training.trainer import training_device

log = logging.getLogger(__name__)
COPIES = {"adamw": 4, "sgd": 3}
"""Of the weights by optimizer: themselves, their gradients, and one or two moments."""
FLOAT_BYTES = 4


def log_summary(config: Config, fold: Fold, network: nn.Module) -> None:
    """Log the line."""
    trainable = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    learns = config.model.learns_by_gradient
    log.info(
        f"{config.name} on {config.cohort.name}, fold {config.fold}: {config.model.name}, {trainable:,} trainable "
        f"parameters; trained on {len(fold.rows[TRAIN])} scans of {num_patients(fold, TRAIN)} patients "
        f"({format_classes(fold)}), validated on {num_patients(fold, VAL)} patients; "
        f"{format_updates(config, fold) if learns else 'a logistic head on frozen features'}, "
        f"on {device_name(training_device(fold.training)) if learns else 'CPU'}"
    )


def num_patients(fold: Fold, split: str) -> int:
    return fold.rows[split][PATIENT_ID].nunique()


def format_classes(fold: Fold) -> str:
    """Training scans and patients of each class."""
    rows = fold.rows[TRAIN]
    # With one label per scan, a class may have the separator in its name.
    labels = [label.split(LABEL_SEPARATOR) if fold.task == "multilabel" else [label] for label in rows[LABEL]]
    patients = [rows[PATIENT_ID][[name in own for own in labels]].nunique() for name in fold.classes]
    counts = zip(fold.classes, fold.class_counts, patients, strict=True)
    return ", ".join(f"{name}: {scans} of {own} patients" for name, scans, own in counts)


def format_updates(config: Config, fold: Fold) -> str:
    """Epochs, scans per update, learning rate and memory."""
    training, processes = fold.training, num_processes(fold.training)
    scans_per_update = training.batch_size * training.accumulate * processes
    return (
        f"{training.max_epochs} epochs, {scans_per_update} scans per update (batch {training.batch_size} x "
        f"{training.accumulate} accumulated x {processes} processes), learning rate {training.learning_rate:g}, "
        f"about {estimate_memory_mb(config, fold):.0f} MB per step beyond the libraries"
    )


def estimate_memory_mb(config: Config, fold: Fold) -> float:
    """Weights, gradients, moments and activations of one process in float32."""
    with torch.device("meta"):
        network = build_network(
            config.model, num_classes=len(fold.classes), in_channels=fold.plan.in_channels, pretrained=False
        )
        cost = cost_of(network, torch.empty(2, fold.plan.in_channels, *fold.plan.size_voxels))
    copies = COPIES[fold.training.optimizer] * cost.parameters * FLOAT_BYTES
    return (copies + cost.kept_bytes * fold.training.batch_size) / 1e6


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return {"cpu": "CPU", "mps": "Apple GPU"}.get(device.type, device.type)
