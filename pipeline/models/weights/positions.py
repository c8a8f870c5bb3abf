"""Learned position embeddings on a grid that may change size.

Axes: P prefix tokens (class or mean token), N grid positions, F features.
"""

from collections.abc import Sequence
from math import prod

from torch import Tensor, cat
from torch.nn import functional as F

# Bicubic with antialiasing is what timm resizes with, so that its checkpoints behave alike at other sizes.
# Torch has no cubic kernel for volumes.
RESIZING = {2: {"mode": "bicubic", "antialias": True}, 3: {"mode": "trilinear"}}


def resize_positions(positions: Tensor, grid: Sequence[int], new_grid: Sequence[int]) -> Tensor:
    """Interpolate positions (P + N, F) learned on `grid` to `new_grid`; the P prefix tokens stay as they are."""
    if tuple(grid) == tuple(new_grid):
        return positions
    num_prefix = len(positions) - prod(grid)
    on_grid = positions[num_prefix:].T.unflatten(1, tuple(grid)).unsqueeze(0)
    # Half precision has no kernel for this, and the positions are few.
    resized = F.interpolate(on_grid.float(), size=tuple(new_grid), align_corners=False, **RESIZING[len(grid)])
    return cat([positions[:num_prefix], resized[0].flatten(1).T.to(positions.dtype)])


def fit_positions(positions: Tensor, num_prefix: int, trained_dims: int, grid: Sequence[int]) -> Tensor:
    """Published positions (P + N, F), learned on a square or cube, for another `grid`.

    Positions of an image network are first resized within the slice and then repeated along depth.
    """
    num_positions = len(positions) - num_prefix
    side = round(num_positions ** (1 / trained_dims))
    if side**trained_dims != num_positions or trained_dims > len(grid):
        raise ValueError(
            f"position embeddings: expected a square or cubic grid of at most {len(grid)} dimensions and "
            f"{num_prefix} more tokens, got {len(positions)} rows trained in {trained_dims}D"
        )
    planar = resize_positions(positions, (side,) * trained_dims, grid[-trained_dims:])
    depth = prod(grid[:-trained_dims])
    return cat([planar[:num_prefix], planar[num_prefix:].repeat(depth, 1)])
