"""Recomputing in the backward pass instead of keeping activations."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
Output = TypeVar("Output")


@contextmanager
def held_statistics(module: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch norms as they are: the batch has been counted before."""
    norms = [norm for norm in module.modules() if isinstance(norm, BATCH_NORMS) and norm.track_running_stats]
    held = [(norm, norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in held:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)


def recompute(module: nn.Module, forward: Callable[[Tensor], Output], x: Tensor) -> Output:
    """`forward(x)` keeping only `x`: run again in the backward pass, with `module`'s statistics counted once."""
    if torch.compiler.is_compiling():  # the compiler recomputes by its own graph, and takes no context
        return checkpoint(forward, x, use_reentrant=False)
    return checkpoint(forward, x, use_reentrant=False, context_fn=lambda: (nullcontext(), held_statistics(module)))
