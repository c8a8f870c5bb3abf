"""The mixer of PoolFormer: a local mean minus the input, exact at the border and fast on CPU.

The window sum is taken one axis at a time by shifting and adding, unlike torch's average pooling. It also works in
half precision and on axes shorter than the window. The window sum is its own adjoint, so the backward pass is the
same sum. Axes: B batch, C channels, S spatial (H, W) or (D, H, W).
"""

from typing import Any

import torch
from torch import Tensor, nn

from pipeline.models.layers import Size, per_axis


def sum_over_window(x: Tensor, radii: tuple[int, ...]) -> Tensor:
    """Sum over the window of 2 radius + 1 voxels around each voxel, along each spatial axis, with zeros outside."""
    for axis, radius in enumerate(radii, start=2):
        reach = min(radius, x.shape[axis] - 1)
        total = add_left_neighbor(x, axis) if reach else x.clone()
        for shift in range(1, reach + 1):
            rest = x.shape[axis] - shift
            if shift > 1:
                total.narrow(axis, shift, rest).add_(x.narrow(axis, 0, rest))
            total.narrow(axis, 0, rest).add_(x.narrow(axis, shift, rest))
        x = total
    return x


def add_left_neighbor(x: Tensor, axis: int) -> Tensor:
    """Each voxel plus the one before it along `axis`."""
    rest = x.shape[axis] - 1
    if torch.compiler.is_compiling():
        total = x.clone()  # The compiler fuses passes itself, and accepts no slice of a tensor as `out`.
        total.narrow(axis, 1, rest).add_(x.narrow(axis, 0, rest))
        return total
    # The first addition fills the sum, which saves a pass over memory to copy the input into it.
    total = torch.empty_like(x)
    torch.add(x.narrow(axis, 1, rest), x.narrow(axis, 0, rest), out=total.narrow(axis, 1, rest))
    total.select(axis, 0).copy_(x.select(axis, 0))
    return total


def inverse_window_count(x: Tensor, radii: tuple[int, ...]) -> Tensor:
    """1 / the number of voxels of the window inside the map, per voxel: shape (*S,)."""
    inverse = torch.ones((), dtype=x.dtype, device=x.device)
    for length, radius in zip(x.shape[2:], radii, strict=True):
        before = torch.arange(length, device=x.device)
        count = before.clamp(max=radius) + before.flip(0).clamp(max=radius) + 1
        inverse = inverse.unsqueeze(-1) / count.to(x.dtype)
    return inverse


class _LocalMeanMinusInput(torch.autograd.Function):
    """The adjoint divides by the count before it sums. Its own adjoint is the mixer: derivatives of any order exist."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, radii: tuple[int, ...], adjoint: bool) -> Tensor:
        ctx.radii, ctx.adjoint = radii, adjoint
        # Half precision would round at every addition, so sum in float32 and round once.
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        inverse = inverse_window_count(wide, radii)
        mean = sum_over_window(wide * inverse, radii) if adjoint else sum_over_window(wide, radii).mul_(inverse)
        return mean.sub_(wide).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _LocalMeanMinusInput.apply(grad, ctx.radii, not ctx.adjoint), None, None


class PoolMixer(nn.Module):
    """Mix neighboring tokens without parameters: local mean minus the input.

    The block adds the input back, hence the subtraction (arXiv:2111.11418). At the border only real voxels are
    averaged, so a constant map gives zero. Shape: (B, C, *S) -> same.
    """

    def __init__(self, spatial_dims: int, pool_size: Size = 3) -> None:
        super().__init__()
        sizes = per_axis(pool_size, spatial_dims, "pool_size")
        if any(size % 2 == 0 for size in sizes):
            raise ValueError(f"pool_size must be odd, so that a window has a center; got {pool_size}")
        self.radii = tuple(size // 2 for size in sizes)

    def forward(self, x: Tensor) -> Tensor:
        return _LocalMeanMinusInput.apply(x, self.radii, False)

    def extra_repr(self) -> str:
        return f"pool_size={tuple(2 * radius + 1 for radius in self.radii)}"
