"""Gradient checkpointing: recompute activations in the backward pass instead of keeping them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
Output = TypeVar("Output")


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch norms unchanged, because the batch was counted before."""
    norms = [norm for norm in module.modules() if isinstance(norm, BATCH_NORMS) and norm.track_running_stats]
    saved = [(norm, norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in saved:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)


def recompute(module: nn.Module, forward: Callable[[Tensor], Output], x: Tensor) -> Output:
    """`forward(x)` that keeps only `x` and runs again in the backward pass; `module`'s batch statistics count once."""
    if torch.compiler.is_compiling():  # the compiler recomputes from its own graph, and accepts no context
        return checkpoint(forward, x, use_reentrant=False)
    return checkpoint(forward, x, use_reentrant=False, context_fn=lambda: (nullcontext(), frozen_statistics(module)))
