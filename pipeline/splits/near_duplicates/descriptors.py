"""Image descriptors for the near-duplicate search, in all 48 axis orientations."""

import itertools
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.orientations import apply_orientation, io_orientation
from scipy import ndimage

from pipeline.imaging.io.read import read_scan


@dataclass(frozen=True)
class Turn:
    """Take the axes in the order `axes`, then mirror along `mirrored`."""

    axes: tuple[int, int, int]
    mirrored: tuple[int, ...]

    def volume(self, array: np.ndarray) -> np.ndarray:
        """An array whose last three axes are turned."""
        lead = array.ndim - 3
        order = [*range(lead), *(lead + axis for axis in self.axes)]
        return np.flip(array.transpose(order), [lead + axis for axis in self.mirrored])

    def lines(self, lines: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What stands along each of three axes, turned in the same way."""
        return [lines[axis][:: -1 if place in self.mirrored else 1] for place, axis in enumerate(self.axes)]


TURNS = [
    Turn(axes, mirrored)
    for axes in itertools.permutations(range(3))
    for number in range(4)
    for mirrored in itertools.combinations(range(3), number)
]
AS_IS = TURNS[0]


CELLS = 24
HALF_WIDTH = 3.0
"""Standard deviations from the centre to the picture's edge."""
MOST_VOXELS = 64
"""An axis is averaged down to this before anything else."""
SMOOTHING = 0.5
"""Of a cell; less aliases, more forgets the person."""


@dataclass(frozen=True)
class Signatures:
    """Pictures of scans along (R, A, S)."""

    cells: np.ndarray
    """(N, G, G, G) float32, intensities between the scan's 0.5th and 99.5th percentile as 0..1."""
    inside: np.ndarray
    """(N, 3, G): which cells along each axis lie inside the scan."""


def box(inside: Sequence[np.ndarray]) -> np.ndarray:
    """The cells (G, G, G) that are inside along all three axes."""
    first, second, third = inside
    return first[:, None, None] & second[:, None] & third


def take_signatures(paths: Iterable[Path], fill: float | None, workers: int = 2) -> Signatures:
    """Read scans one after the other in a few threads; `fill` replaces NaN voxels."""

    def take(path: Path) -> tuple[np.ndarray, np.ndarray]:
        scan = read_scan(path, fill)
        return signature(scan.array, scan.affine)

    with ThreadPoolExecutor(workers) as pool:
        cells, inside = zip(*pool.map(take, paths), strict=True)
    return Signatures(np.stack(cells), np.stack(inside))


def signature(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells (G, G, G) and where they are inside (3, G), of one scan's voxels and its affine to RAS."""
    small = to_unit_range(average_down(apply_orientation(array, io_orientation(affine))))
    centres, deviations = frame_of(small)
    steps = [2 * HALF_WIDTH * deviation / CELLS for deviation in deviations]
    places = [centre + (np.arange(CELLS) - (CELLS - 1) / 2) * step for centre, step in zip(centres, steps, strict=True)]
    smooth = ndimage.gaussian_filter(small, [SMOOTHING * step for step in steps], truncate=3)
    inside = [(place >= -0.5) & (place <= size - 0.5) for place, size in zip(places, small.shape, strict=True)]
    return sample(smooth, places), np.array(inside)


def average_down(array: np.ndarray) -> np.ndarray:
    """Means of whole blocks of voxels, as small as leave at most MOST_VOXELS an axis; float32."""
    for axis, size in enumerate(array.shape):
        block = -(-size // MOST_VOXELS)
        slices = [np.moveaxis(array, axis, 0)[first : size // block * block : block] for first in range(block)]
        mean = sum(slices[1:], slices[0].astype(np.float32)) / block
        array = np.moveaxis(mean, 0, axis)
    return array


def to_unit_range(array: np.ndarray) -> np.ndarray:
    low, high = np.percentile(array, (0.5, 99.5))
    return np.clip((array - low) / (high - low if high > low else 1), 0, 1).astype(np.float32)


def frame_of(array: np.ndarray) -> tuple[list[float], list[float]]:
    """Centre and standard deviation of the bright tissue along each axis, in voxels."""
    bright = array > otsu_threshold(array)
    if not bright.any():
        bright = np.ones(array.shape, bool)
    centres, deviations = [], []
    for axis in range(3):
        profile = bright.sum(tuple({0, 1, 2} - {axis}))
        places = np.arange(len(profile))
        centre = np.average(places, weights=profile)
        centres.append(float(centre))
        deviations.append(max(0.5, float(np.sqrt(np.average((places - centre) ** 2, weights=profile)))))
    return centres, deviations


def otsu_threshold(array: np.ndarray) -> float:
    """The value that parts 0..1 into the two classes that differ most."""
    counts, edges = np.histogram(array, bins=256, range=(0, 1))
    middles = (edges[:-1] + edges[1:]) / 2
    below, sum_below = np.cumsum(counts)[:-1], np.cumsum(counts * middles)[:-1]
    above, sum_above = counts.sum() - below, (counts * middles).sum() - sum_below
    gap = sum_above / np.maximum(above, 1) - sum_below / np.maximum(below, 1)
    return float(edges[1 + np.argmax(below * above * gap**2.0)])


def sample(array: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
    """Linear interpolation at the lattice of `places` along each axis; the edge goes on outside."""
    for axis, place in enumerate(places):
        last = array.shape[axis] - 1
        place = np.clip(place, 0, last)
        lower = np.minimum(place.astype(int), max(last - 1, 0))
        weight = np.expand_dims((place - lower).astype(np.float32), tuple({0, 1, 2} - {axis}))
        upper = np.minimum(lower + 1, last)
        array = np.take(array, lower, axis) * (1 - weight) + np.take(array, upper, axis) * weight
    return array
