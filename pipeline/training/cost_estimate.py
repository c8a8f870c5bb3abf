"""Cost estimate: time and memory of a plan on this machine, from a few training steps of its network."""

import logging
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import torch
from torch import nn

from pipeline.config import Config, CostEstimate, Model, Plan
from pipeline.core.columns import LABEL, LABEL_SEPARATOR, PATIENT_ID, TRAIN, VAL
from pipeline.models.cost import cost_of
from pipeline.training.auto import build_network, resolve_auto
from pipeline.training.distributed import num_processes
from pipeline.training.fold_data import Fold
from pipeline.training.trainer import training_device

log = logging.getLogger(__name__)
NUM_STEPS = 3
"""Timed steps, after one that sets up memory and kernels."""


def log_cost_estimate(config: Config, planned: Plan, num_scans: int) -> None:
    """Log what the experiment would cost on this machine."""
    run = resolve_auto(config, planned)
    resolved = planned.model_copy(update={key: getattr(run.training, key) for key in ("batch_size", "max_epochs")})
    estimate = estimate_cost(run.model, resolved, num_scans)
    log.info(
        f"{config.name} on {num_scans} scans: about {estimate.hours_per_fold:.2f} h per fold "
        f"({estimate.seconds_per_epoch:.1f} s per epoch), {estimate.memory_mb:.0f} MB of memory beyond the libraries, "
        f"{estimate.disk_mb:.0f} MB on disk"
    )


def estimate_cost(model: Model, plan: Plan, num_scans: int) -> CostEstimate:
    """Time and memory of training `model` as planned on `num_scans` scans; disk space is the plan's own estimate.

    The steps run in a new process: a used one holds freed memory, whose reuse would not show.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(time_steps, model, plan, num_scans).result()


def time_steps(model: Model, plan: Plan, num_scans: int) -> CostEstimate:
    """The estimate from steps in this process."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    before = peak_bytes(device)
    network = build_network(model, num_classes=2, in_channels=plan.in_channels, pretrained=False).to(device).train()
    volumes = torch.randn(plan.batch_size, plan.in_channels, *plan.size_voxels, device=device)
    is_frozen = model.freeze and model.lora is None
    step = time_forward if is_frozen else TrainStep(network)
    seconds = median([step(network, volumes) for _ in range(1 + NUM_STEPS)][1:])
    per_epoch = seconds * num_scans / plan.batch_size
    # Features of a frozen network are computed once.
    epochs = 1 if is_frozen else plan.max_epochs
    return CostEstimate(
        disk_mb=plan.cost_estimate.disk_mb,
        memory_mb=round((peak_bytes(device) - before) / 1e6, 1),
        seconds_per_epoch=round(per_epoch, 1),
        hours_per_fold=round(per_epoch * epochs / 3600, 2),
    )


@torch.no_grad()
def time_forward(network: nn.Module, volumes: torch.Tensor) -> float:
    """Seconds of one forward pass, which is all that a frozen network needs."""
    start = time.perf_counter()
    network(volumes)
    if volumes.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


class TrainStep:
    """Training steps with AdamW, which keeps two moments of each parameter."""

    def __init__(self, network: nn.Module) -> None:
        self.optimizer = torch.optim.AdamW([weight for weight in network.parameters() if weight.requires_grad])

    def __call__(self, network: nn.Module, volumes: torch.Tensor) -> float:
        """Seconds of one forward and backward pass and update."""
        start = time.perf_counter()
        labels = torch.zeros(len(volumes), dtype=torch.long, device=volumes.device)
        self.optimizer.zero_grad()
        nn.functional.cross_entropy(network(volumes), labels).backward()
        self.optimizer.step()
        if volumes.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start


def peak_bytes(device: str) -> int:
    """Peak memory of this process so far."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():
        # On Linux, ru_maxrss includes the process that started this one.
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


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
