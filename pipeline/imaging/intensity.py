"""Intensities: windowing, z-score, rescaling, N4 bias correction, matching of histograms."""

from collections.abc import Iterable

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from numpy.typing import NDArray

from pipeline.config import Histogram, Intensity, Rescale, Suv, Window, ZScore
from pipeline.imaging.voxel_codes import Volume

SHRINK = 4
"""The field is smooth, so it is fitted on every fourth voxel an axis."""
FEWEST_VOXELS = 8
"""An axis is not shrunk below this."""
Deciles = tuple[float, ...]
LEVELS = tuple(range(10, 100, 10))
"""Percentiles that are matched."""


def scale_intensity(array: Volume, intensity: Intensity, foreground: NDArray[np.bool_]) -> Volume:
    """Apply a scheme; statistics come from the voxels of `foreground`, or from all where it is empty.

    NaN becomes what says least: the mean of the scan, or 0 where a histogram is matched, which takes that for no body.
    """
    scaled = apply_scheme(array, intensity, foreground)
    outside = np.isnan(scaled)
    if not outside.any():
        return scaled
    least = 0 if isinstance(intensity, Histogram) else scaled[~outside].mean(dtype=np.float64)
    return np.where(outside, np.float32(least), scaled)


def apply_scheme(array: Volume, intensity: Intensity, foreground: NDArray[np.bool_]) -> Volume:
    """`scale_intensity` that leaves NaN as it is."""
    match intensity:
        case Window(window_hu=(low, high)) | Suv(window_suv=(low, high)):
            return to_unit_range(array, low, high)
        case Rescale(percentiles=percentiles) | Histogram(percentiles=percentiles):
            return to_unit_range(array, *foreground_percentiles(array, foreground, percentiles))
        case ZScore(percentiles=percentiles):
            return standardize(array, foreground, percentiles)
        case _:
            return array


def to_unit_range(array: Volume, low: float, high: float) -> Volume:
    """Saturate outside low..high, then map that to 0..1; all 0 where the two are one."""
    width = np.float32(high - low)
    if not width > 0:
        return np.zeros_like(array)
    return (np.clip(array, np.float32(low), np.float32(high)) - np.float32(low)) / width


def standardize(array: Volume, foreground: NDArray[np.bool_], percentiles: tuple[float, float]) -> Volume:
    """Clip at percentiles, then give the foreground mean 0 and standard deviation 1; all 0 where it is constant."""
    values = body_values(array, foreground)
    low, high = (np.float32(value) for value in np.percentile(values, percentiles))
    values = np.clip(values, low, high)
    # Sums in float64: float32 would lose the last digits of a million voxels.
    mean, deviation = values.mean(dtype=np.float64), values.std(dtype=np.float64)
    if not deviation > 0:
        return np.zeros_like(array)
    return (np.clip(array, low, high) - np.float32(mean)) / np.float32(deviation)


def foreground_percentiles(
    array: Volume, foreground: NDArray[np.bool_], percentiles: tuple[float, float]
) -> tuple[float, float]:
    """Values at two percentiles of the foreground."""
    low, high = np.percentile(body_values(array, foreground), percentiles)
    return float(low), float(high)


def body_values(array: Volume, foreground: NDArray[np.bool_]) -> Volume:
    return array[foreground] if foreground.any() else array


def require_n4() -> None:
    """Raise `ValueError` where SimpleITK, which the rest does without, is not installed."""
    try:
        import SimpleITK  # noqa: F401
    except ImportError:
        raise ValueError(
            "preprocess.bias_correction: n4 needs SimpleITK, which is not installed; "
            "run 'pip install simpleitk', or set it to none."
        ) from None


def correct_bias(array: NDArray) -> NDArray[np.float32]:
    """The scan (X, Y, Z) divided by its smooth field of gain; takes some seconds, on one thread for the same bits."""
    import SimpleITK as sitk

    # N4 works on logarithms, and values under 0 are no signal.
    image = sitk.GetImageFromArray(np.clip(array, 0, None).astype(np.float32).T)
    small = sitk.Shrink(image, [max(1, min(SHRINK, size // FEWEST_VOXELS)) for size in array.shape])
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(1)
    n4.Execute(small, sitk.OtsuThreshold(small, 0, 1))
    log_field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).T
    return array / np.exp(log_field, dtype=np.float32)


class MatchHistogram(Transform):
    """Move the deciles of each image (C, D, H, W) to those of the training scans, in place."""

    def __init__(self, standards: tuple[Deciles, ...]) -> None:
        self.standards = standards

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        to_standards(as_numpy(image), self.standards)
        return image


def fit_standards(volumes: Iterable[Volume], num_images: int) -> tuple[Deciles, ...]:
    """Mean deciles of each image over volumes (C, D, H, W); images that a scan lacks do not count."""
    found: list[list[Deciles]] = [[] for _ in range(num_images)]
    for volume in volumes:
        for deciles, image in zip(found, volume, strict=False):
            if image.any():
                deciles.append(deciles_of(image))
    return tuple(tuple(np.mean(deciles or [np.array(LEVELS) / 100], axis=0).tolist()) for deciles in found)


def to_standards(volume: Volume, standards: tuple[Deciles, ...]) -> None:
    """Move the deciles of each image to its standard, in place; channels after the images stay as they are."""
    for image, standard in zip(volume, standards, strict=False):
        if image.any():
            image[:] = np.interp(image, (0, *deciles_of(image), 1), (0, *standard, 1))


def deciles_of(image: Volume) -> Deciles:
    """Of the body, which is what lies above 0."""
    return tuple(np.percentile(image[image > 0], LEVELS).tolist())


def as_numpy(image: torch.Tensor) -> Volume:
    """The voxels of a tensor or a MetaTensor, sharing memory."""
    return (image.as_tensor() if isinstance(image, MetaTensor) else image).numpy()
