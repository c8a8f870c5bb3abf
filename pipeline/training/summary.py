"""One line before a training: what is trained, on what, how, and what it will take."""

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
"""Of the weights: themselves, their gradients, and the optimiser's one or two moments."""
FLOAT_BYTES = 4


def describe_run(config: Config, fold: Fold, network: nn.Module) -> None:
    """Log the line."""
    trainable = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    learns = config.model.learns_by_gradient
    log.info(
        f"{config.name} on {config.cohort.name}, {config.training_key}: {config.model.name}, {trainable:,} trainable "
        f"parameters; {len(fold.rows[TRAIN])} scans of {num_patients(fold, TRAIN)} patients ({by_class(fold)}), "
        f"{num_patients(fold, VAL)} patients validate; "
        f"{by_gradient(config, fold) if learns else 'a head on frozen features'}, "
        f"on {device_name(training_device(fold.training)) if learns else 'CPU'}"
    )


def num_patients(fold: Fold, side: str) -> int:
    return fold.rows[side][PATIENT_ID].nunique()


def by_class(fold: Fold) -> str:
    """Training scans and patients that show each class."""
    rows = fold.rows[TRAIN]
    # A class of one label a scan may have the separator in its name.
    shown = [label.split(LABEL_SEPARATOR) if fold.task == "multilabel" else [label] for label in rows[LABEL]]
    patients = [rows[PATIENT_ID][[name in names for names in shown]].nunique() for name in fold.classes]
    counts = zip(fold.classes, fold.class_counts, patients, strict=True)
    return ", ".join(f"{name}: {scans} of {own} patients" for name, scans, own in counts)


def by_gradient(config: Config, fold: Fold) -> str:
    training, processes = fold.training, num_processes(fold.training)
    scans_an_update = training.batch_size * training.accumulate * processes
    return (
        f"{training.max_epochs} epochs, {scans_an_update} scans an update (batch {training.batch_size} x "
        f"{training.accumulate} accumulated x {processes} processes), rate {training.learning_rate:g}, "
        f"about {forecast_mb(config, fold):.0f} MB a step beyond the libraries"
    )


def forecast_mb(config: Config, fold: Fold) -> float:
    """Weights, their gradients and moments, and what one process keeps between the passes of a step, in float32."""
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
