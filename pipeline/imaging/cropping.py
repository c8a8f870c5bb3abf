"""What the input is centred on: the body, the middle of the scan, a mask or a point."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Plan
from pipeline.imaging.foreground import Foreground
from pipeline.imaging.geometry import Affine, Grid, index_map
from pipeline.imaging.io.discover import ScanFiles
from pipeline.imaging.io.read import read_scan
from pipeline.imaging.problems import Findings, Problem

Box = tuple[slice, slice, slice]

CUTS = (0.05, 0.1, 0.2, 0.4)
"""Shares of the box along one axis that may fall outside the input: under the first unsaid, then said by steps."""


@dataclass(frozen=True)
class Focus:
    """A point to centre on, and a box around what should not be cut."""

    center_mm: NDArray[np.float64]
    """(3,) in RAS."""
    box: Box
    """Bounds in voxels of `grid`."""
    grid: Grid
    what: str
    """The name of what is in the box, for warnings."""
    problems: tuple[Problem, ...] = ()
    """What the reader of the mask's file noticed."""


def focus_of(files: ScanFiles, grid: Grid, foreground: Foreground, plan: Plan) -> Focus:
    """Where the plan's input lies in a scan on `grid`; a mask is read from its file, which may have its own grid.

    Raises `ValueError` for a mask or a point outside the scan: the input would be empty.
    """
    if plan.crop == "mask":
        focus = mask_focus(files)
        refuse_mask_outside(files, focus, grid)
        return focus
    if plan.crop == "point":
        point = np.array(given_point(files))
        if found := place_outside(point, grid):
            raise ValueError(f"the point to crop to lies outside the scan, got {found}; give it as R, A and S in mm.")
        index = np.rint(np.linalg.solve(grid.affine, [*point, 1])[:3]).astype(int)
        return Focus(point, tuple(slice(at, at + 1) for at in index.tolist()), grid, "point")
    center = foreground.center if plan.crop == "foreground" else grid.center
    return Focus(grid.to_world(center), foreground.box, grid, "body")


def given_point(files: ScanFiles) -> tuple[float, float, float]:
    if files.crop_center_mm is None:
        raise ValueError("the plan crops to a point, got none; give its R, A and S in mm.")
    return files.crop_center_mm


def mask_focus(files: ScanFiles) -> Focus:
    """The box of all voxels of the mask that are not 0."""
    if files.crop_mask is None:
        raise ValueError("the plan crops to a mask, got none; give the mask's file.")
    mask = read_scan(files.crop_mask)
    box = mask_box(mask.array, Findings(mask.path))
    grid = Grid(mask.array.shape, mask.affine)
    middle = np.array([(part.start + part.stop - 1) / 2 for part in box])
    return Focus(grid.to_world(middle), box, grid, "mask", mask.warnings)


def mask_box(mask: NDArray, findings: Findings) -> Box:
    """Bounds of what is not 0."""
    hits = [np.flatnonzero((mask != 0).any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not len(hits[0]):
        findings.reject("NII-CROP-MASK", "0 everywhere")
    return tuple(slice(int(hit[0]), int(hit[-1]) + 1) for hit in hits)


def refuse_mask_outside(files: ScanFiles, focus: Focus, grid: Grid) -> None:
    """The middle of the mask to crop to lies in the scan."""
    if found := place_outside(focus.center_mm, grid):
        Findings(files.crop_mask).reject("NII-CROP-OUTSIDE", f"its middle at {found} of the scan")


def refuse_point_outside(files: ScanFiles, grid: Grid) -> None:
    """The point to crop to lies in the scan."""
    if found := place_outside(files.crop_center_mm, grid):
        Findings(files.first).reject("NII-CROP-CENTER", found)


def place_outside(point_mm: Sequence[float], grid: Grid) -> str:
    """In words, where a point lies that is in no voxel of the grid; nothing for one that is."""
    index = np.linalg.solve(grid.affine, [*point_mm, 1])[:3]
    if ((index >= -0.5) & (index <= np.array(grid.shape) - 0.5)).all():
        return ""
    place = " ".join(f"{number:g}" for number in np.round(point_mm, 3))
    return f"{place} mm, voxel {' '.join(f'{at:.0f}' for at in index)}"


def cut_warnings(focus: Focus, target: Grid) -> tuple[str, ...]:
    """Say so where the box sticks out of the network's input."""
    low, high = bounds_in(target, focus.grid.affine, focus.box)
    inside = np.minimum(high, np.array(target.shape) - 0.5) - np.maximum(low, -0.5)
    lost = 1 - np.clip(inside, 0, None) / (high - low)
    return tuple(
        f"over {max(cut for cut in CUTS if share > cut):.0%} of the {focus.what}'s extent along {axis} lies outside "
        "the input; raise size_voxels or spacing_mm"
        for axis, share in zip("DHW", lost, strict=True)
        if share > CUTS[0]
    )


def bounds_in(target: Grid, affine: Affine, box: Box) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest index of a box's corners in another grid."""
    to_target = np.linalg.inv(index_map(affine, target))
    edges = [(part.start - 0.5, part.stop - 0.5) for part in box]
    corners = to_target[:3, :3] @ np.array(np.meshgrid(*edges, indexing="ij")).reshape(3, -1) + to_target[:3, 3:]
    return corners.min(1), corners.max(1)
