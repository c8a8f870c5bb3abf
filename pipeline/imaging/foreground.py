"""Separate the body in a scan from the empty space around it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.config import Intensity

SAMPLES_PER_AXIS = 64
"""The body's box is accurate to 1/64 of the scan, or to one voxel in small scans."""
BODY_HU = -500.0
"""Above air and lung, below soft tissue."""
MAX_DARK_TO_BRIGHT = 0.3
"""Mean of the darker part of a scan divided by that of the brighter: at most 0.21 in whole heads, at least 0.37 in
crops inside a brain."""
MIN_FILL_SHARE = 0.01
"""If at least this share of voxels has the scan's minimum, it was filled with it; inside a brain at most 0.0007."""
MIN_COMPONENT_SHARE = 0.1
"""Components smaller than this share of the largest are ignored: a table's edge, a marker, noise."""


@dataclass(frozen=True)
class Foreground:
    """Voxels above `threshold`; None means that the scan has no empty space around the body."""

    threshold: float | None
    box: tuple[slice, slice, slice]
    """Bounds of the body in voxels."""
    background: float
    """The value of empty space; NaN if the scan has none, so that no value is invented beyond its edge."""

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
    """Voxels above the threshold; without one, all voxels of the scan, which excludes NaN."""
    return ~np.isnan(array) if threshold is None else array > threshold


def find_foreground(array: NDArray, intensity: Intensity) -> Foreground:
    """Threshold, box and background of a scan; a CT, which has a window, gets a fixed threshold."""
    steps = [odd_step(size) for size in array.shape]
    taken = tuple(symmetric_samples(size, step) for size, step in zip(array.shape, steps, strict=True))
    # A contiguous copy, because everything below reads the sample several times and strided reads are slow.
    sample = np.ascontiguousarray(array[taken])
    threshold = air_threshold(sample) if intensity.scheme == "window" else empty_space_threshold(sample)
    background = np.nan if threshold is None else float(sample.min())
    return Foreground(threshold, body_box(sample, threshold, steps, array.shape), background)


def odd_step(size: int) -> int:
    return max(1, 2 * round(size / SAMPLES_PER_AXIS / 2 - 0.5) + 1)


def symmetric_samples(size: int, step: int) -> slice:
    """Every `step`th index, chosen so that a mirrored scan gives the mirrored samples; needs an odd step."""
    return slice((size - 1) * ((step + 1) // 2) % step, None, step)


def air_threshold(sample: NDArray) -> float | None:
    """Threshold of the body in a CT; None if there is neither air nor a fill value."""
    return BODY_HU if sample.min() < BODY_HU else find_fill_value(sample)


def find_fill_value(sample: NDArray) -> float | None:
    """The minimum, if so many voxels have it that it was filled in for missing tissue; else None."""
    low = sample.min()
    return float(low) if MIN_FILL_SHARE <= (sample == low).mean() < 1 else None


def empty_space_threshold(sample: NDArray) -> float | None:
    """A quarter of the way from empty space to tissue, so that dark tissue is included; None without empty space.

    Otsu's threshold separates the two. Empty space is darkest: if the mean of the dark part is well above the scan's
    minimum, it is dark tissue of a scan cropped inside the body, and only a fill value can be empty space there.
    """
    low, high = float(sample.min()), float(np.percentile(sample, 99.5))
    if not low < high:
        return None if float(sample.max()) == low else low
    counts, edges = np.histogram(np.clip(sample, low, high), bins=256, range=(low, high))
    middles = (edges[:-1] + edges[1:]) / 2 - low
    dark, bright = otsu_means(counts, middles)
    return find_fill_value(sample) if dark > MAX_DARK_TO_BRIGHT * bright else low + dark + 0.25 * (bright - dark)


def otsu_means(counts: NDArray[np.int64], values: NDArray[np.float64]) -> tuple[float, float]:
    """Means of the two classes with the largest between-class variance."""
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    sum_below = np.cumsum(counts * values)[:-1]
    mean_below = sum_below / np.maximum(below, 1)
    mean_above = ((counts * values).sum() - sum_below) / np.maximum(above, 1)
    best = int(np.argmax(below * above * (mean_above - mean_below) ** 2.0))
    return float(mean_below[best]), float(mean_above[best])


def body_box(sample: NDArray, threshold: float | None, steps: list[int], shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Bounds of all components that are not too small, in voxels of the scan; the whole scan if there are none."""
    components, num_components = ndimage.label(sample > threshold) if threshold is not None else (None, 0)
    if not num_components:
        return tuple(slice(0, size) for size in shape)
    volumes = np.bincount(components.ravel())[1:]
    kept = 1 + np.flatnonzero(volumes >= MIN_COMPONENT_SHARE * volumes.max())
    body = np.isin(components, kept)
    hits = [np.flatnonzero(body.any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    return tuple(sampled_range(*axis) for axis in zip(hits, steps, shape, strict=True))


def sampled_range(hits: NDArray[np.int64], step: int, size: int) -> slice:
    """The range of indices that are nearer to these samples than to any other."""
    start = symmetric_samples(size, step).start
    reach = step // 2
    return slice(max(0, int(hits[0]) * step + start - reach), min(size, int(hits[-1]) * step + start + reach + 1))
