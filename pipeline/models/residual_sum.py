"""The second half of a PoolFormer branch: scaled by channel, dropped at random, added to its input.

Axes: B batch, C channels, S spatial (H, W) or (D, H, W).
"""

from typing import Any

import torch
from torch import Tensor, nn

from pipeline.models.layers import DropPath


class _ScaledSum(torch.autograd.Function):
    """x + scale * branch with scale (B, C). Its gradient is a dot product a channel, where autograd would write the
    product of two maps to memory before summing it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, branch: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(branch, scale)
        return torch.addcmul(x, branch, over_map(scale, x))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        branch, scale = ctx.saved_tensors
        rows, columns = grad.flatten(2).unsqueeze(-2), branch.to(grad.dtype).flatten(2).unsqueeze(-1)
        return grad, grad * over_map(scale, grad), (rows @ columns).flatten(1)


def over_map(scale: Tensor, x: Tensor) -> Tensor:
    """(B, C) -> (B, C, 1, …), as many axes as `x` has."""
    return scale.view(*scale.shape, *[1] * (x.dim() - 2))


class ResidualSum(nn.Module):
    """Add a branch to its input, scaled for each channel (arXiv:2103.17239) unless `layer_scale_init_value` is 0.

    Shape: (B, C, *S), (B, C, *S) -> same.
    """

    def __init__(self, channels: int, *, layer_scale_init_value: float, drop_path_rate: float) -> None:
        super().__init__()
        start = torch.full((channels,), float(layer_scale_init_value))
        self.scale = nn.Parameter(start) if layer_scale_init_value else None
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, branch: Tensor) -> Tensor:
        if self.scale is None:
            return x + self.drop_path(branch)
        # Dropping the scale drops the branch, and scaling while adding takes one pass over memory for all three.
        return _ScaledSum.apply(x, branch, self.drop_path(self.scale.expand(len(x), -1)))
