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
from pipeline.training.auto import build_network, resolve_auto

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
