"""Forecast: what a plan will cost on this machine, from a few training steps of the very network."""

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

from pipeline.config import Config, Forecast, Model, Plan
from pipeline.training.auto import build_network, resolve_auto

log = logging.getLogger(__name__)
NUM_STEPS = 3
"""After one that is not counted, which sets up memory and kernels."""


def forecast_here(config: Config, planned: Plan, num_scans: int) -> None:
    """Log what the experiment would cost on this machine."""
    run = resolve_auto(config, planned)
    settled = planned.model_copy(update={key: getattr(run.training, key) for key in ("batch_size", "max_epochs")})
    found = probe(run.model, settled, num_scans)
    log.info(
        f"{config.name} on {num_scans} scans: about {found.hours_per_fold:.2f} h a fold "
        f"({found.seconds_per_epoch:.1f} s an epoch), {found.memory_mb:.0f} MB of memory beyond the libraries, "
        f"{found.disk_mb:.0f} MB on disk"
    )


def probe(model: Model, plan: Plan, num_scans: int) -> Forecast:
    """Time and memory of training `model` as planned on `num_scans` scans; disk is the plan's own figure.

    Steps are taken in a new process: one that has worked before holds memory that it would take again unseen.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(take_steps, model, plan, num_scans).result()


def take_steps(model: Model, plan: Plan, num_scans: int) -> Forecast:
    """The forecast from steps in this process."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    before = peak_bytes(device)
    network = build_network(model, num_classes=2, in_channels=plan.in_channels, pretrained=False).to(device).train()
    volumes = torch.randn(plan.batch_size, plan.in_channels, *plan.size_voxels, device=device)
    is_frozen = model.freeze and model.lora is None
    step = read_features if is_frozen else TrainStep(network)
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


class TrainStep:
    """Steps of an optimiser that keeps two moments of each parameter, as training's own do."""

    def __init__(self, network: nn.Module) -> None:
        self.optimiser = torch.optim.AdamW([weight for weight in network.parameters() if weight.requires_grad])

    def __call__(self, network: nn.Module, volumes: torch.Tensor) -> float:
        """Seconds of one forward and backward pass and update."""
        start = time.perf_counter()
        labels = torch.zeros(len(volumes), dtype=torch.long, device=volumes.device)
        self.optimiser.zero_grad()
        nn.functional.cross_entropy(network(volumes), labels).backward()
        self.optimiser.step()
        if volumes.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start


def peak_bytes(device: str) -> int:
    """Most memory in use so far, of this process alone."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():
        # Linux counts the process that started this one into ru_maxrss.
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
