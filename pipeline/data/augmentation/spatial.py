"""Spatial augmentations: the same for all images of a scan. Volumes are (D, H, W)."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.data.augmentation.registry import SPATIAL, augmentation

MAX_ROTATION_DEGREES = 15.0
MAX_SHIFT = 0.05
"""Share of the axis."""
MAX_ZOOM = 0.1
ELASTIC_NODES = 5
MAX_ELASTIC = 0.03
"""Standard deviation of the displacement of a node, as a share of the axis."""

Spacing = tuple[float, float, float]


@augmentation(
    "random_crop",
    title="random crop",
    kind=SPATIAL,
    # Asked for by name, so always made: its size is drawn from nothing at all to the share.
    prob=1.0,
    follows_strength=False,
    applies=lambda settings: settings.crop_share > 0,
    options=lambda settings: {"share": settings.crop_share},
)
def random_crop(volume: Tensor, rng: np.random.Generator, *, share: float) -> Tensor:
    """Cut the input's size out of the volume padded by `share` of each axis on either side with its border voxels."""
    for axis, size in enumerate(volume.shape):
        most = int(share * size)
        first = int(rng.integers(-most, most, endpoint=True))
        volume = volume.index_select(axis, torch.arange(first, first + size).clamp(0, size - 1))
    return volume


@augmentation(
    "flip",
    title="left-right flip",
    kind=SPATIAL,
    # A mirrored scan is as likely as the scan itself, at any strength but none.
    prob=0.5,
    follows_strength=False,
    applies=lambda settings: settings.flip_axis is not None and settings.strength != "none",
    options=lambda settings: {"axis": settings.flip_axis},
)
def flip(volume: Tensor, rng: np.random.Generator, *, axis: int) -> Tensor:
    """Mirror along one axis."""
    return volume.flip(axis)


@augmentation(
    "rotate",
    title="rotation and shift",
    kind=SPATIAL,
    prob=0.8,
    options=lambda settings: {"axes": settings.rotation_axes, "spacing_mm": settings.spacing_mm},
)
def rotate(volume: Tensor, rng: np.random.Generator, *, axes: tuple[int, ...], spacing_mm: Spacing) -> Tensor:
    """Rotate by up to 15 degrees about one of `axes`, drawn at random, and shift in that plane.

    One plane at a time, so that all slices share one set of weights: a tenth of the work of a 3D rotation.
    """
    axis = int(rng.choice(axes))
    plane = [other for other in range(3) if other != axis]
    sizes = np.array([volume.shape[other] for other in plane])
    angle = np.deg2rad(rng.uniform(-MAX_ROTATION_DEGREES, MAX_ROTATION_DEGREES))
    shift = rng.uniform(-MAX_SHIFT, MAX_SHIFT, 2)
    slices = volume.movedim(axis, 0)[None]
    matrix = plane_rotation(angle, sizes * np.array([spacing_mm[other] for other in plane]), 2 * shift)
    grid = functional.affine_grid(matrix[None], [1, 1, *slices.shape[2:]], align_corners=False)
    rotated = functional.grid_sample(slices, grid, padding_mode="border", align_corners=False)
    return rotated[0].movedim(0, axis)


def plane_rotation(angle: float, extent_mm: np.ndarray, shift: np.ndarray) -> Tensor:
    """(2, 3) matrix of a rotation in millimeters, in grid_sample's coordinates: (x, y) of -1..1, x the last axis."""
    cos, sin = np.cos(angle), np.sin(angle)
    high, wide = extent_mm
    return torch.tensor([[cos, -sin * high / wide, shift[1]], [sin * wide / high, cos, shift[0]]], dtype=torch.float32)


@augmentation(
    "elastic",
    title="zoom and elastic deformation",
    kind=SPATIAL,
    prob=0.3,
    applies=lambda settings: settings.is_deformable,
)
def elastic(volume: Tensor, rng: np.random.Generator) -> Tensor:
    """Zoom all axes by up to 10 percent alike, and deform smoothly."""
    zoom = 1 / rng.uniform(1 - MAX_ZOOM, 1 + MAX_ZOOM)
    nodes = rng.normal(0, 2 * MAX_ELASTIC, (1, 3, *[ELASTIC_NODES] * 3)).astype(np.float32)
    bend = functional.interpolate(torch.from_numpy(nodes), volume.shape, mode="trilinear", align_corners=True)[0]
    grid = torch.empty((*volume.shape, 3))
    for axis, size in enumerate(volume.shape):
        centers = (2 * torch.arange(size) + 1) / size - 1
        # grid_sample names the last axis first.
        grid[..., 2 - axis] = zoom * centers.view([-1 if other == axis else 1 for other in range(3)]) + bend[axis]
    return functional.grid_sample(volume[None, None], grid[None], padding_mode="border", align_corners=False)[0, 0]
