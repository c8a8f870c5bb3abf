"""What differs where several processes train together. Axes: B batch, K classes."""

import logging
import os
from collections.abc import Sequence

import torch
from torch import Tensor, distributed

from pipeline.config import Training


def is_first() -> bool:
    """Is this the process that writes files and talks? True where it is alone; launchers set the rank."""
    ranks = [os.environ[name] for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ]
    return not ranks or int(ranks[0]) == 0


def let_first_process_talk() -> None:
    """Silence the other processes' news; their warnings and errors stay."""
    if not is_first():
        logging.getLogger("pipeline").setLevel(logging.WARNING)


def num_processes(training: Training) -> int:
    """Processes over all machines."""
    return training.devices * training.nodes


def is_shared() -> bool:
    """Are there other processes?"""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def gather(parts: Sequence[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Logits and targets of all processes, on the CPU, in the order of the table.

    `parts` are one process's batches of (row in the table (B,), logits (B, K), targets). Whoever had which scan, every
    process gets the same tensors; a scan that filled up a process's share counts once.
    """
    everywhere: list[Sequence[tuple[Tensor, Tensor, Tensor]]] = [parts]
    if is_shared():
        everywhere = [()] * distributed.get_world_size()
        distributed.all_gather_object(everywhere, list(parts))
    rows, logits, targets = (torch.cat(column) for column in zip(*(p for own in everywhere for p in own), strict=True))
    order = {int(row): place for place, row in reversed(list(enumerate(rows)))}
    places = torch.tensor([order[row] for row in sorted(order)])
    return logits[places], targets[places]


def mean_over_processes(total: Tensor, count: Tensor) -> float:
    """`total / count`, both summed over all processes."""
    if is_shared():
        both = torch.stack([total, count])
        on_device = both.cuda() if distributed.get_backend() == "nccl" else both
        distributed.all_reduce(on_device)
        total, count = on_device.cpu()
    return float(total / count)


def mean_of_processes(value: Tensor) -> Tensor:
    """The mean of a number, without gradient, that each process has; where there is one process, its own."""
    if not is_shared():
        return value
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()
