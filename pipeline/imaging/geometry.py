"""Where voxels lie: orientation, spacing, and the grid that a network sees.

World coordinates are RAS millimetres. An affine is a 4x4 matrix from voxel index to world; an orientation such as
"SPL" says where each index grows to (nibabel's and MONAI's convention): here first index to superior, second to
posterior, third to left, which is axial slices in radiological view.
"""

from dataclasses import dataclass
from typing import Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

Affine = NDArray[np.float64]
Tilt = Literal["keep", "straighten"]

DRIFT_VOXELS = 0.01
"""Headers hold float32: a scale that moves no voxel of the grid further than this from a whole step is that step."""


@dataclass(frozen=True)
class Grid:
    """A lattice of voxels in the world."""

    shape: tuple[int, int, int]
    affine: Affine

    def to_world(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        """RAS millimetres of a voxel index (3,)."""
        return self.affine[:3, :3] @ index + self.affine[:3, 3]

    @property
    def center(self) -> NDArray[np.float64]:
        """Index of the middle, half-way between voxels where an axis is even."""
        return (np.array(self.shape) - 1) / 2


def spacing_mm(affine: Affine) -> NDArray[np.float64]:
    """Distance between neighbours along each index."""
    return np.linalg.norm(affine[:3, :3], axis=0)


def orientation(affine: Affine) -> str:
    """The nearest orientation code, such as "RAS"."""
    return "".join(nib.aff2axcodes(affine))


def network_grid(
    scan: Grid,
    center_mm: NDArray[np.float64],
    codes: str,
    spacing: tuple[float, float, float],
    size: tuple[int, int, int],
    tilt: Tilt = "keep",
) -> Grid:
    """The grid of `size` voxels around a world point, oriented and spaced as asked.

    Where an axis keeps the scan's own spacing, its voxels are the scan's, so that nothing is interpolated there.
    """
    linear = directions(scan.affine, codes, tilt) * np.array(spacing)
    origin = center_mm - linear @ ((np.array(size) - 1) / 2)
    target = Grid(size, np.block([[linear, origin[:, None]], [np.zeros(3), 1.0]]))
    return Grid(size, scan.affine @ on_whole_voxels(index_map(scan.affine, target)))


def directions(affine: Affine, codes: str, tilt: Tilt) -> NDArray[np.float64]:
    """Unit vectors of the axes `codes`, as columns.

    `keep` follows the acquisition's own axes, so a tilted stack of thick slices is not cut across; a shear is taken
    out. `straighten` follows the scanner's.
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
    """The orthogonal matrix nearest to one whose columns may lean towards each other."""
    left, _, right = np.linalg.svd(matrix)
    return left @ right


def index_map(source: Affine, target: Grid) -> Affine:
    """4x4 matrix from target index to source index, free of rounding noise."""
    exact = np.linalg.solve(source, target.affine)
    whole = np.rint(exact)
    tolerance = np.append(DRIFT_VOXELS / np.array(target.shape), DRIFT_VOXELS)
    is_whole = (np.abs(exact - whole) < tolerance) & (np.abs(whole) <= np.array([1, 1, 1, np.inf]))
    return np.where(is_whole, whole, exact)


def on_whole_voxels(matrix: Affine) -> Affine:
    """Shift a target-to-source index map so that axes of equal spacing meet source voxels, by half a voxel at most.

    Half-way, the shift follows the target's direction, not the source's: a scan and its mirrored file stay equal.
    """
    matrix = matrix.copy()
    for row in matrix[:3]:
        steps = row[:3][row[:3] != 0]
        if len(steps) == 1 and abs(steps[0]) == 1:
            row[3] = steps[0] * np.floor(steps[0] * row[3] + 0.5 + 1e-4)
    return matrix
