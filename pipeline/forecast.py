"""Forecast: what a plan will cost on this machine, from a few training steps of the very network."""

import logging
import resource
import time
from statistics import median

import torch
from torch import nn

from pipeline.config import Config, Forecast, Model, Plan
from pipeline.training.settling.build import build_network
from pipeline.training.settling.settle import settle_config

log = logging.getLogger(__name__)
NUM_STEPS = 3
"""After one that is not counted, which sets up memory and kernels."""


def forecast_here(config: Config, planned: Plan, num_scans: int) -> None:
    """Log what the experiment would cost on this machine."""
    run = settle_config(config, planned)
    settled = planned.model_copy(update={key: getattr(run.training, key) for key in ("batch_size", "max_epochs")})
    found = probe(run.model, settled, num_scans)
    log.info(
        f"{config.name} on {num_scans} scans: about {found.hours_per_fold:.2f} h a fold "
        f"({found.seconds_per_epoch:.1f} s an epoch), {found.memory_mb:.0f} MB of memory beyond the libraries, "
        f"{found.disk_mb:.0f} MB on disk"
    )


def probe(model: Model, plan: Plan, num_scans: int) -> Forecast:
    """Time and memory of training `model` as planned on `num_scans` scans; disk is the plan's own figure."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = build_network(model, num_classes=2, in_channels=plan.in_channels, pretrained=False).to(device).train()
    volumes = torch.randn(plan.batch_size, plan.in_channels, *plan.size_voxels, device=device)
    before = peak_bytes(device)
    is_frozen = model.freeze and model.lora is None
    step = read_features if is_frozen else train_step
    seconds = median([step(network, volumes) for _ in range(1 + NUM_STEPS)][1:])
    per_epoch = seconds * num_scans / plan.batch_size
    # Features of a frozen network are computed once.
    epochs = 1 if is_frozen else plan.max_epochs
    return Forecast(
        disk_mb=plan.forecast.disk_mb,
        memory_mb=round((peak_bytes(device) - before) / 1e6, 1),
        seconds_per_epoch=round(per_epoch, 1),
        hours_per_fold=round(per_epoch * epochs / 3600, 2),
    )


@torch.no_grad()
def read_features(network: nn.Module, volumes: torch.Tensor) -> float:
    """Seconds of one forward pass, all that a frozen network takes."""
    start = time.perf_counter()
    network(volumes)
    if volumes.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def train_step(network: nn.Module, volumes: torch.Tensor) -> float:
    """Seconds of one forward and backward pass."""
    start = time.perf_counter()
    labels = torch.zeros(len(volumes), dtype=torch.long, device=volumes.device)
    nn.functional.cross_entropy(network(volumes), labels).backward()
    if volumes.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_bytes(device: str) -> int:
    """Most memory in use so far."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
