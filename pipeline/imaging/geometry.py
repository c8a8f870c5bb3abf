"""Voxel grids in world coordinates: orientation, spacing, and the grid of the network's input.

World coordinates are RAS millimeters. An affine is a 4x4 matrix from voxel index to world; an orientation such as
"SPL" gives the direction in which each index increases (the convention of nibabel and MONAI): here the first index to
superior, the second to posterior, the third to left, which gives axial slices in radiological view.
"""

from dataclasses import dataclass
from typing import Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

Affine = NDArray[np.float64]
Tilt = Literal["keep", "straighten"]

PAIRS = ("LR", "PA", "IS")
"""Ends of the anatomical axes R, A, S."""
GRID_TOLERANCE_VOXELS = 0.01
"""Headers store float32: an index map within this distance of whole steps, at every voxel, is taken as whole steps."""


@dataclass(frozen=True)
class Grid:
    """A voxel grid with its affine to world coordinates."""

    shape: tuple[int, int, int]
    affine: Affine

    def to_world(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        """RAS millimeters of a voxel index (3,)."""
        return self.affine[:3, :3] @ index + self.affine[:3, 3]

    @property
    def center(self) -> NDArray[np.float64]:
        """Index of the middle, halfway between voxels if an axis has an even size."""
        return (np.array(self.shape) - 1) / 2


def spacing_mm(affine: Affine) -> NDArray[np.float64]:
    """Distance between neighboring voxels along each index."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.linalg.norm(affine[:3, :3], axis=0)


def axcodes(affine: Affine) -> str:
    """The nearest orientation code, such as "RAS"."""
    return "".join(nib.aff2axcodes(affine))


def anatomical_axes(orientation: str) -> list[int]:
    """The number of each letter's axis among R, A, S."""
    return [next(axis for axis, pair in enumerate(PAIRS) if letter in pair) for letter in orientation]


def network_grid(
    scan: Grid,
    center_mm: NDArray[np.float64],
    codes: str,
    spacing: tuple[float, float, float],
    size: tuple[int, int, int],
    tilt: Tilt = "keep",
) -> Grid:
    """The grid of `size` voxels around a world point, with the given orientation and spacing.

    Along an axis that keeps the scan's own spacing, voxels coincide with the scan's, so that nothing is interpolated.
    """
    linear = axis_directions(scan.affine, codes, tilt) * np.array(spacing)
    origin = center_mm - linear @ ((np.array(size) - 1) / 2)
    target = Grid(size, np.block([[linear, origin[:, None]], [np.zeros(3), 1.0]]))
    return Grid(size, scan.affine @ align_to_source(index_map(scan.affine, target)))


def axis_directions(affine: Affine, codes: str, tilt: Tilt) -> NDArray[np.float64]:
    """Unit vectors of the axes `codes`, as columns.

    `keep` follows the axes of the acquisition, so that a tilted stack of thick slices is not resampled across slices;
    a shear is removed. `straighten` follows the axes of the scanner.
    """
    anatomical = nib.orientations.axcodes2ornt(codes)
    if sorted(anatomical[:, 0]) != [0, 1, 2]:
        raise ValueError(f"orientation '{codes}': expected one of RL, one of AP and one of IS, such as SPL.")
    straight = np.zeros((3, 3))
    straight[anatomical[:, 0].astype(int), np.arange(3)] = anatomical[:, 1]
    if tilt == "straighten":
        return straight
    scan_axes = nearest_rotation(affine[:3, :3] / spacing_mm(affine))
    own = nib.orientations.io_orientation(affine)
    to_codes = nib.orientations.ornt_transform(anatomical, own)
    order, sign = to_codes[:, 0].astype(int), to_codes[:, 1]
    return scan_axes[:, order] * sign


def nearest_rotation(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The orthogonal matrix nearest to one whose columns may not be at right angles."""
    left, _, right = np.linalg.svd(matrix)
    return left @ right


def index_map(source: Affine, target: Grid) -> Affine:
    """4x4 matrix from target index to source index, without rounding errors of headers."""
    exact = np.linalg.solve(source, target.affine)
    whole = np.rint(exact)
    tolerance = np.append(GRID_TOLERANCE_VOXELS / np.array(target.shape), GRID_TOLERANCE_VOXELS)
    is_whole = (np.abs(exact - whole) < tolerance) & (np.abs(whole) <= np.array([1, 1, 1, np.inf]))
    return np.where(is_whole, whole, exact)


def align_to_source(matrix: Affine) -> Affine:
    """Shift a target-to-source index map by at most half a voxel, so that axes of equal spacing hit source voxels.

    Halfway, the shift follows the target's direction, not the source's, so that a scan and its mirrored file give
    equal results.
    """
    matrix = matrix.copy()
    for row in matrix[:3]:
        steps = row[:3][row[:3] != 0]
        if len(steps) == 1 and abs(steps[0]) == 1:
            row[3] = steps[0] * np.floor(steps[0] * row[3] + 0.5 + 1e-4)
    return matrix
