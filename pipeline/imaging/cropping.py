"""What the input is centered on: the body, the middle of the scan, a mask or a point."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Plan
from pipeline.imaging.foreground import Foreground
from pipeline.imaging.geometry import Affine, Grid, index_map
from pipeline.imaging.io.discover import ScanFiles
from pipeline.imaging.io.read import ANY_SPACING_MM, read_scan
from pipeline.imaging.problems import Findings, Problem

Box = tuple[slice, slice, slice]

TRUNCATION_LEVELS = (0.05, 0.1, 0.2, 0.4)
"""Shares of the box along one axis that may fall outside the input: no warning below the first, then in steps."""


@dataclass(frozen=True)
class CropTarget:
    """A point to center on, and a box around what should not be cut off."""

    center_mm: NDArray[np.float64]
    """(3,) in RAS."""
    box: Box
    """Bounds in voxels of `grid`."""
    grid: Grid
    what: str
    """Name of the content of the box, for warnings."""
    problems: tuple[Problem, ...] = ()
    """Warnings from reading the mask's file."""


def find_crop_target(files: ScanFiles, grid: Grid, foreground: Foreground, plan: Plan) -> CropTarget:
    """What the plan crops to in a scan on `grid`; a mask is read from its file, which may have its own grid.

    Raises `ValueError` for a mask or a point outside the scan, because the input would be empty.
    """
    if plan.crop == "mask":
        target = mask_target(files)
        check_mask_inside(files, target, grid)
        return target
    if plan.crop == "point":
        point = np.array(crop_point(files))
        if found := format_if_outside(point, grid):
            raise ValueError(f"the point to crop to is outside the scan, got {found}; give it as R, A and S in mm.")
        index = np.rint(np.linalg.solve(grid.affine, [*point, 1])[:3]).astype(int)
        return CropTarget(point, tuple(slice(at, at + 1) for at in index.tolist()), grid, "point")
    center = foreground.center if plan.crop == "foreground" else grid.center
    return CropTarget(grid.to_world(center), foreground.box, grid, "body")


def crop_point(files: ScanFiles) -> tuple[float, float, float]:
    if files.crop_center_mm is None:
        raise ValueError("the plan crops to a point, got none; give its R, A and S in mm.")
    return files.crop_center_mm


def mask_target(files: ScanFiles) -> CropTarget:
    """The box of all voxels of the mask that are not 0."""
    if files.crop_mask is None:
        raise ValueError("the plan crops to a mask, got none; give the mask's file.")
    mask = read_scan(files.crop_mask, spacing_range_mm=ANY_SPACING_MM)
    box = nonzero_box(mask.array, Findings(mask.path))
    grid = Grid(mask.array.shape, mask.affine)
    middle = np.array([(part.start + part.stop - 1) / 2 for part in box])
    return CropTarget(grid.to_world(middle), box, grid, "mask", mask.warnings)


def nonzero_box(mask: NDArray, findings: Findings) -> Box:
    """Bounds of the voxels that are not 0."""
    hits = [np.flatnonzero((mask != 0).any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not len(hits[0]):
        findings.reject("NII-CROP-MASK", "0 everywhere")
    return tuple(slice(int(hit[0]), int(hit[-1]) + 1) for hit in hits)


def check_mask_inside(files: ScanFiles, crop: CropTarget, grid: Grid) -> None:
    """Reject a mask whose middle is outside the scan."""
    if found := format_if_outside(crop.center_mm, grid):
        Findings(files.crop_mask).reject("NII-CROP-OUTSIDE", f"its middle at {found} of the scan")


def check_point_inside(files: ScanFiles, grid: Grid) -> None:
    """Reject a point outside the scan."""
    if found := format_if_outside(files.crop_center_mm, grid):
        Findings(files.first).reject("NII-CROP-CENTER", found)


def format_if_outside(point_mm: Sequence[float], grid: Grid) -> str:
    """The position of a point that is in no voxel of the grid, for a message; empty for a point inside."""
    index = np.linalg.solve(grid.affine, [*point_mm, 1])[:3]
    if ((index >= -0.5) & (index <= np.array(grid.shape) - 0.5)).all():
        return ""
    place = " ".join(f"{number:g}" for number in np.round(point_mm, 3))
    return f"{place} mm, voxel {' '.join(f'{at:.0f}' for at in index)}"


def truncation_warnings(crop: CropTarget, target: Grid) -> tuple[str, ...]:
    """A warning for each axis along which the box extends beyond the network's input."""
    low, high = box_bounds(target, crop.grid.affine, crop.box)
    inside = np.minimum(high, np.array(target.shape) - 0.5) - np.maximum(low, -0.5)
    lost = 1 - np.clip(inside, 0, None) / (high - low)
    return tuple(
        f"over {max(level for level in TRUNCATION_LEVELS if share > level):.0%} of the {crop.what}'s extent along "
        f"{axis} is outside the input; raise size_voxels or spacing_mm"
        for axis, share in zip("DHW", lost, strict=True)
        if share > TRUNCATION_LEVELS[0]
    )


def box_bounds(target: Grid, affine: Affine, box: Box) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest index of a box's corners in another grid."""
    to_target = np.linalg.inv(index_map(affine, target))
    edges = [(part.start - 0.5, part.stop - 0.5) for part in box]
    corners = to_target[:3, :3] @ np.array(np.meshgrid(*edges, indexing="ij")).reshape(3, -1) + to_target[:3, 3:]
    return corners.min(1), corners.max(1)
