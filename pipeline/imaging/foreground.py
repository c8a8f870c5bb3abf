"""What of a scan is body, and what is the empty space around it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.config import Intensity

SAMPLES_PER_AXIS = 64
"""A body's box is found to a 64th of the scan, or to a voxel in small ones."""
BODY_HU = -500.0
"""Between air and lung on one side and soft tissue on the other."""
EMPTY_BELOW = 0.3
"""Mean of the darker part of a scan over that of the brighter: at most 0.21 in whole heads, from 0.37 in crops inside
a brain."""
FILLED_FROM = 0.01
"""Share of voxels at a scan's minimum from which that is what it was filled with; inside a brain at most 0.0007."""
SMALL_PART = 0.1
"""Parts below this share of the largest are specks: a table's edge, a marker, noise."""


@dataclass(frozen=True)
class Foreground:
    """Voxels above `threshold`; None means that the scan has no empty space around the body."""

    threshold: float | None
    box: tuple[slice, slice, slice]
    """Bounds of the body in voxels."""
    background: float
    """The value of empty space; NaN where the scan has none, so that nothing is invented beyond its edge."""

    @property
    def center(self) -> NDArray[np.float64]:
        """Index of the box's middle."""
        return np.array([(part.start + part.stop - 1) / 2 for part in self.box])

    @property
    def size_voxels(self) -> NDArray[np.int64]:
        """Extent of the box along each index."""
        return np.array([part.stop - part.start for part in self.box])

    def mask(self, array: NDArray) -> NDArray[np.bool_]:
        """Which voxels of an array of the same scan are body."""
        return is_body(array, self.threshold)


def is_body(array: NDArray, threshold: float | None) -> NDArray[np.bool_]:
    """Voxels above the threshold, or all of the scan, which ends where NaN begins."""
    return ~np.isnan(array) if threshold is None else array > threshold


def find_foreground(array: NDArray, intensity: Intensity) -> Foreground:
    """Threshold, box and background of a scan; a CT, known by its window, has a threshold of its own."""
    steps = [odd_step(size) for size in array.shape]
    taken = tuple(symmetric(size, step) for size, step in zip(array.shape, steps, strict=True))
    # Laid side by side: all below go over the sample again and again, and a cache line each for a voxel is slow.
    sample = np.ascontiguousarray(array[taken])
    threshold = air_threshold(sample) if intensity.scheme == "window" else empty_space_threshold(sample)
    background = np.nan if threshold is None else float(sample.min())
    return Foreground(threshold, body_box(sample, threshold, steps, array.shape), background)


def odd_step(size: int) -> int:
    return max(1, 2 * round(size / SAMPLES_PER_AXIS / 2 - 0.5) + 1)


def symmetric(size: int, step: int) -> slice:
    """Every `step`th index such that a mirrored scan gives the mirrored samples; it takes an odd step."""
    return slice((size - 1) * ((step + 1) // 2) % step, None, step)


def air_threshold(sample: NDArray) -> float | None:
    """Where the body begins in a CT; None where neither air nor a filling is seen."""
    return BODY_HU if sample.min() < BODY_HU else filling(sample)


def filling(sample: NDArray) -> float | None:
    """The minimum, where so many voxels share it that somebody put it there in place of tissue; else None."""
    low = sample.min()
    return float(low) if FILLED_FROM <= (sample == low).mean() < 1 else None


def empty_space_threshold(sample: NDArray) -> float | None:
    """A quarter of the way from empty space to tissue, so that dark tissue still counts; None without empty space.

    The two are parted by Otsu's threshold. Empty space is darkest: where the dark part's mean lies well above the
    scan's minimum, it is dark tissue of a scan cropped inside the body, in which only a filling is empty.
    """
    low, high = float(sample.min()), float(np.percentile(sample, 99.5))
    if not low < high:
        return None if float(sample.max()) == low else low
    counts, edges = np.histogram(np.clip(sample, low, high), bins=256, range=(low, high))
    middles = (edges[:-1] + edges[1:]) / 2 - low
    dark, bright = otsu_means(counts, middles)
    return filling(sample) if dark > EMPTY_BELOW * bright else low + dark + 0.25 * (bright - dark)


def otsu_means(counts: NDArray[np.int64], values: NDArray[np.float64]) -> tuple[float, float]:
    """Means of the two classes that differ most, by between-class variance."""
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    sum_below = np.cumsum(counts * values)[:-1]
    mean_below = sum_below / np.maximum(below, 1)
    mean_above = ((counts * values).sum() - sum_below) / np.maximum(above, 1)
    best = int(np.argmax(below * above * (mean_above - mean_below) ** 2.0))
    return float(mean_below[best]), float(mean_above[best])


def body_box(sample: NDArray, threshold: float | None, steps: list[int], shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Bounds of all parts of a fair size, in voxels of the whole scan, which is the box where nothing is found."""
    parts, found = ndimage.label(sample > threshold) if threshold is not None else (None, 0)
    if not found:
        return tuple(slice(0, size) for size in shape)
    volumes = np.bincount(parts.ravel())[1:]
    fair = 1 + np.flatnonzero(volumes >= SMALL_PART * volumes.max())
    body = np.isin(parts, fair)
    return tuple(
        whole_range(np.flatnonzero(body.any(tuple({0, 1, 2} - {axis}))), steps[axis], shape[axis]) for axis in range(3)
    )


def whole_range(hits: NDArray[np.int64], step: int, size: int) -> slice:
    """From sampled indices to all those nearer to them than to other samples."""
    start = symmetric(size, step).start
    reach = step // 2
    return slice(max(0, int(hits[0]) * step + start - reach), min(size, int(hits[-1]) * step + start + reach + 1))
