"""The second half of a PoolFormer branch: scaled by channel, dropped at random, added to its input.

Axes: B batch, C channels, S spatial (H, W) or (D, H, W).
"""

import torch
from torch import Tensor, nn

from pipeline.models.layers import DropPath


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
        scale = self.drop_path(self.scale.expand(len(x), -1))
        return torch.addcmul(x, branch, scale.view(*scale.shape, *[1] * (x.dim() - 2)))
