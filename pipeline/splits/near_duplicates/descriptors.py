"""Descriptors of scans for the near-duplicate search: small normalized volumes, in any of 48 axis orientations."""

import itertools
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.orientations import apply_orientation, io_orientation
from scipy import ndimage

from pipeline.imaging.io.read import ANY_SPACING_MM, read_scan

CELLS = 24
"""Of a descriptor along each axis."""
HALF_WIDTH = 3.0
"""Standard deviations of the tissue from the center to the edge of a descriptor."""
MAX_VOXELS = 64
"""Longer axes are first downsampled by averaging."""
BRIGHT_BORDER = 0.8
"""Share of the border from which the bright class is taken for the background. Far from one half, where noise would
decide."""
SMOOTHING = 0.5
"""In cells; less smoothing aliases, more removes what distinguishes two people."""


@dataclass(frozen=True)
class Descriptors:
    """Small volumes of N scans along (R, A, S), with G cells per axis."""

    cells: np.ndarray
    """(N, G, G, G) float32: intensities, with the 0.5th and 99.5th percentile of the scan at 0 and 1."""
    inside: np.ndarray
    """(N, 3, G): which cells along each axis are inside the scan."""


def read_descriptors(paths: Iterable[Path], fill: float | None, workers: int = 2) -> Descriptors:
    """Descriptors of scan files, read in a few threads; `fill` replaces NaN voxels."""

    def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
        scan = read_scan(path, fill, ANY_SPACING_MM)
        return descriptor(scan.array, scan.affine)

    with ThreadPoolExecutor(workers) as pool:
        cells, inside = zip(*pool.map(read, paths), strict=True)
    return Descriptors(np.stack(cells), np.stack(inside))


def descriptor(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`cells` (G, G, G) and `inside` (3, G) of a scan with `affine` to RAS."""
    small = to_unit_range(downsample(apply_orientation(array, io_orientation(affine))))
    centers, deviations = tissue_frame(small)
    steps = [2 * HALF_WIDTH * deviation / CELLS for deviation in deviations]
    positions = [
        center + (np.arange(CELLS) - (CELLS - 1) / 2) * step for center, step in zip(centers, steps, strict=True)
    ]
    smooth = ndimage.gaussian_filter(small, [SMOOTHING * step for step in steps], truncate=3)
    inside = [
        (position >= -0.5) & (position <= size - 0.5) for position, size in zip(positions, small.shape, strict=True)
    ]
    return sample(smooth, positions), np.array(inside)


def downsample(array: np.ndarray) -> np.ndarray:
    """Means over the smallest whole blocks of voxels that leave at most MAX_VOXELS per axis; float32."""
    for axis, size in enumerate(array.shape):
        block = -(-size // MAX_VOXELS)
        slices = [np.moveaxis(array, axis, 0)[first : size // block * block : block] for first in range(block)]
        mean = sum(slices[1:], slices[0].astype(np.float32)) / block
        array = np.moveaxis(mean, 0, axis)
    return array


def to_unit_range(array: np.ndarray) -> np.ndarray:
    low, high = np.percentile(array, (0.5, 99.5))
    return np.clip((array - low) / (high - low if high > low else 1), 0, 1).astype(np.float32)


def tissue_frame(array: np.ndarray) -> tuple[list[float], list[float]]:
    """Center and standard deviation of the tissue along each axis, in voxels.

    The tissue is the bright class of intensities, or the dark one if the bright one fills the border, as it does in an
    inverted copy.
    """
    tissue = array > otsu_threshold(array)
    if share_of_border(tissue) > BRIGHT_BORDER:
        tissue = ~tissue
    if not tissue.any():
        tissue = np.ones(array.shape, bool)
    centers, deviations = [], []
    for axis in range(3):
        profile = tissue.sum(tuple({0, 1, 2} - {axis}))
        positions = np.arange(len(profile))
        center = np.average(positions, weights=profile)
        centers.append(float(center))
        deviations.append(max(0.5, float(np.sqrt(np.average((positions - center) ** 2, weights=profile)))))
    return centers, deviations


def share_of_border(mask: np.ndarray) -> float:
    """Share of the voxels on the six faces of a volume that are in the mask."""
    faces = [np.take(mask, [0, -1], axis) for axis in range(3)]
    return sum(int(face.sum()) for face in faces) / sum(face.size for face in faces)


def otsu_threshold(array: np.ndarray) -> float:
    """The threshold in 0..1 between the two classes that differ most (Otsu 1979)."""
    counts, edges = np.histogram(array, bins=256, range=(0, 1))
    midpoints = (edges[:-1] + edges[1:]) / 2
    below, sum_below = np.cumsum(counts)[:-1], np.cumsum(counts * midpoints)[:-1]
    above, sum_above = counts.sum() - below, (counts * midpoints).sum() - sum_below
    gap = sum_above / np.maximum(above, 1) - sum_below / np.maximum(below, 1)
    return float(edges[1 + np.argmax(below * above * gap**2.0)])


def sample(array: np.ndarray, positions: list[np.ndarray]) -> np.ndarray:
    """Linear interpolation on the grid of `positions` along each axis, in voxels; edge values extend outside."""
    for axis, position in enumerate(positions):
        last = array.shape[axis] - 1
        position = np.clip(position, 0, last)
        lower = np.minimum(position.astype(int), max(last - 1, 0))
        weight = np.expand_dims((position - lower).astype(np.float32), tuple({0, 1, 2} - {axis}))
        upper = np.minimum(lower + 1, last)
        array = np.take(array, lower, axis) * (1 - weight) + np.take(array, upper, axis) * weight
    return array


def box(inside: Sequence[np.ndarray]) -> np.ndarray:
    """(G, G, G): which cells are inside the scan along all three axes."""
    first, second, third = inside
    return first[:, None, None] & second[:, None] & third


@dataclass(frozen=True)
class AxisPermutation:
    """Permute three axes to the order `axes`, then flip those in `flipped`."""

    axes: tuple[int, int, int]
    flipped: tuple[int, ...]

    @property
    def inverse(self) -> "AxisPermutation":
        """The permutation that undoes this one."""
        back = (self.axes.index(0), self.axes.index(1), self.axes.index(2))
        return AxisPermutation(back, tuple(sorted(self.axes[position] for position in self.flipped)))

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Permute and flip the last three axes of an array."""
        lead = array.ndim - 3
        order = [*range(lead), *(lead + axis for axis in self.axes)]
        return np.flip(array.transpose(order), [lead + axis for axis in self.flipped])

    def apply_to_axes(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Permute and flip three arrays that hold values along one axis each."""
        return [values[axis][:: -1 if position in self.flipped else 1] for position, axis in enumerate(self.axes)]


ALL_48 = [
    AxisPermutation(axes, flipped)
    for axes in itertools.permutations(range(3))
    for number in range(4)
    for flipped in itertools.combinations(range(3), number)
]
IDENTITY = ALL_48[0]
