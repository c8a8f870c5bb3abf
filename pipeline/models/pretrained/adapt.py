"""Adapt pretrained tensors: inflate 2D kernels to 3D, resize position embeddings."""

from collections.abc import Mapping, Sequence
from math import prod

import torch
from einops import rearrange, repeat
from torch import Tensor, cat
from torch.nn import functional as F

from pipeline.models.registry import check_choice

INFLATIONS = ("center", "mean")
# Bicubic with antialiasing is what timm resizes with, so that its checkpoints behave alike at other sizes.
# Torch has no cubic kernel for volumes.
RESIZING = {2: {"mode": "bicubic", "antialias": True}, 3: {"mode": "trilinear"}}
POSITIONS_TO_MAP = {2: "(h w) f -> 1 f h w", 3: "(d h w) f -> 1 f d h w"}


def inflate_kernel(weight: Tensor, depth: int, inflation: str = "center") -> Tensor:
    """A 2D kernel (O, C, H, W) as a 3D one (O, C, D, H, W) that does the same on a volume constant along depth.

    `center` puts it in the middle slice and zeros elsewhere: exact up to the border (arXiv:2103.15691, eq. 9).
    `mean` repeats it, divided by `depth` (I3D, arXiv:1705.07750): exact where the kernel stays inside the volume.
    """
    check_choice("inflation", inflation, INFLATIONS)
    if inflation == "mean":
        return repeat(weight, "o c h w -> o c d h w", d=depth) / depth
    inflated = weight.new_zeros(*weight.shape[:2], depth, *weight.shape[2:])
    inflated[:, :, depth // 2] = weight
    return inflated


def inflate_weights(
    weights: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], inflation: str = "center"
) -> dict[str, Tensor]:
    """Inflate the 2D kernels among `weights` for which `shapes`, by the same names, has a 3D one."""
    inflated = {}
    for name, weight in weights.items():
        shape = shapes.get(name, weight.shape)
        is_kernel = weight.dim() == 4 and len(shape) == 5
        inflated[name] = inflate_kernel(weight, shape[2], inflation) if is_kernel else weight
    return inflated


def resize_positions(positions: Tensor, grid: Sequence[int], new_grid: Sequence[int]) -> Tensor:
    """Interpolate positions (P + N, F) learned on `grid` to `new_grid`; the P prefix tokens stay as they are."""
    if tuple(grid) == tuple(new_grid):
        return positions
    num_prefix = len(positions) - prod(grid)
    lengths = dict(zip("dhw"[-len(grid) :], grid, strict=True))
    on_grid = rearrange(positions[num_prefix:], POSITIONS_TO_MAP[len(grid)], **lengths)
    # torch has no half-precision kernel for this, and the positions are few.
    resized = F.interpolate(on_grid.float(), size=tuple(new_grid), align_corners=False, **RESIZING[len(grid)])
    return cat([positions[:num_prefix], rearrange(resized[0], "f ... -> (...) f").to(positions.dtype)])


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
    return cat([planar[:num_prefix], repeat(planar[num_prefix:], "n f -> (d n) f", d=depth)])
