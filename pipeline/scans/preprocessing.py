"""From a raw scan to the network's input: one resampling, then one scaling of intensities."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Plan
from pipeline.scans.entry import decode, encode
from pipeline.scans.foreground import Foreground, find_foreground
from pipeline.scans.formats.reading import read_scan
from pipeline.scans.geometry import Affine, Grid, index_map, network_grid
from pipeline.scans.intensity import scale_intensity
from pipeline.scans.resampling import resample

CUTS = (0.05, 0.1, 0.2, 0.4)
"""Shares of the body along one axis that may fall outside the input: under the first unsaid, then said by steps."""


@dataclass(frozen=True)
class Prepared:
    """A scan as the network sees it."""

    array: NDArray[np.float32]
    """(D, H, W), C-contiguous; already rounded to the store's steps, so a stored scan gives the same bits."""
    affine: Affine
    """Index of that grid to RAS millimetres."""
    warnings: tuple[str, ...]
    """What a reader of the results should know."""


def preprocess_scan(path: Path, plan: Plan) -> Prepared:
    """Read and prepare one scan file; `ValueError` if it cannot be used."""
    scan = read_scan(path, plan.fill_nonfinite)
    prepared = prepare(scan.array, scan.affine, plan)
    warnings = tuple(f"{problem.message} [{problem.code}]" for problem in scan.warnings) + prepared.warnings
    return Prepared(prepared.array, prepared.affine, warnings)


def prepare(array: NDArray, affine: Affine, plan: Plan) -> Prepared:
    """Prepare the voxels (X, Y, Z) of a scan whose affine leads to RAS millimetres."""
    foreground = find_foreground(array, plan.intensity)
    source = Grid(array.shape, affine)
    target = plan_grid(source, foreground, plan)
    resampled = resample(array, affine, target, fill=foreground.background)
    scaled = scale_intensity(resampled, plan.intensity, foreground.mask(resampled))
    return Prepared(decode(*encode(scaled)), target.affine, cut_warnings(foreground, source, target))


def plan_grid(source: Grid, foreground: Foreground, plan: Plan) -> Grid:
    """The network's grid in the world of one scan."""
    center = foreground.center if plan.crop == "foreground" else source.center
    return network_grid(source, source.to_world(center), plan.orientation, plan.spacing_mm, plan.size_voxels, plan.tilt)


def cut_warnings(foreground: Foreground, source: Grid, target: Grid) -> tuple[str, ...]:
    """Say so where the body's box sticks out of the network's input."""
    to_target = np.linalg.inv(index_map(source.affine, target))
    edges = [(part.start - 0.5, part.stop - 0.5) for part in foreground.box]
    corners = to_target[:3, :3] @ np.array(np.meshgrid(*edges, indexing="ij")).reshape(3, -1) + to_target[:3, 3:]
    low, high = corners.min(1), corners.max(1)
    inside = np.minimum(high, np.array(target.shape) - 0.5) - np.maximum(low, -0.5)
    lost = 1 - np.clip(inside, 0, None) / (high - low)
    return tuple(
        f"over {max(cut for cut in CUTS if share > cut):.0%} of the body's extent along {axis} lies outside the input; "
        "raise size_voxels or spacing_mm"
        for axis, share in zip("DHW", lost, strict=True)
        if share > CUTS[0]
    )
