"""Grids: the position of each voxel in mm to the right, front and top (RAS+)."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import make_interp_spline

Array = NDArray[np.floating]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Grid:
    """Voxels (i, j, k) of `shape`; `affine` (4, 4) takes a voxel to its point in mm."""

    shape: tuple[int, int, int]
    affine: Array

    @classmethod
    def of_box(cls, low_mm: Point, high_mm: Point, spacing_mm: float) -> "Grid":
        """Cubic voxels along R, A, S whose centers run from one corner to the other."""
        shape = tuple(int((high - low) // spacing_mm) + 1 for low, high in zip(low_mm, high_mm, strict=True))
        affine = np.diag([spacing_mm] * 3 + [1.0])
        affine[:3, 3] = low_mm
        return cls(shape, affine)

    def points(self) -> Array:
        """Centers of all voxels in mm, (3, *shape), for a grid along R, A, S."""
        axes = [
            self.affine[axis, 3] + self.affine[axis, axis] * np.arange(size, dtype=np.float32)
            for axis, size in enumerate(self.shape)
        ]
        return np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)


def voxels_at(grid: Grid, points_mm: Array) -> Array:
    """Fractional voxel (3, *S) of each point (3, *S), for a grid along R, A, S."""
    along = (slice(None),) + (None,) * (points_mm.ndim - 1)
    return (points_mm - grid.affine[:3, 3][along]) / np.diag(grid.affine)[:3][along]


def resample(volume: Array, source: Grid, target: Grid) -> Array:
    """The volume, given on one grid, at the voxels of another; linear, 0 outside."""
    to_source = np.linalg.inv(source.affine) @ target.affine
    resampled = np.zeros(target.shape, np.float32)
    box = _box_reached(volume, np.linalg.inv(to_source), target.shape)
    corner = to_source @ [*(part.start for part in box), 1]
    resampled[box] = ndimage.affine_transform(
        volume, to_source[:3, :3], corner[:3], resampled[box].shape, order=1, output=np.float32
    )
    return resampled


def _box_reached(volume: Array, to_target: Array, shape: tuple[int, int, int]) -> tuple[slice, slice, slice]:
    """The target's voxels that can differ from 0: most of a volume is empty, and skipping it halves the time."""
    found = ndimage.find_objects((volume != 0).astype(np.int8))
    if not found:
        return (slice(0, 0),) * 3
    corners = np.array([*product(*[(part.start - 1, part.stop) for part in found[0]])]).T
    reached = to_target[:3, :3] @ corners + to_target[:3, 3:]
    low, high = np.floor(reached.min(1)).astype(int), np.ceil(reached.max(1)).astype(int) + 1
    return tuple(slice(*np.clip((first, last), 0, size)) for first, last, size in zip(low, high, shape, strict=True))


def smooth_field(control: Array, shape: tuple[int, int, int]) -> Array:
    """Volume of `shape` through control points spread evenly over it: a cubic spline, axis by axis."""
    field = control.astype(np.float32)
    for axis, size in enumerate(shape):
        weights = _spline_weights(control.shape[axis], size)
        # einsum, not a BLAS product: its threads would compete with the other processes.
        field = np.moveaxis(np.einsum("ij,j...->i...", weights, np.moveaxis(field, axis, 0)), 0, axis)
    return field


@lru_cache(maxsize=256)
def _spline_weights(num_control: int, size: int) -> Array:
    """The weight of each control point at each voxel along one axis, (size, num_control)."""
    spline = make_interp_spline(np.linspace(0, 1, num_control), np.eye(num_control), k=3)
    return spline(np.linspace(0, 1, size)).astype(np.float32)
