"""Intensities: windowing, z-score, rescaling, N4 bias correction."""

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Histogram, Intensity, Rescale, Suv, Window, ZScore

Volume = NDArray[np.float32]


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
            return standardise(array, foreground, percentiles)
        case _:
            return array


def to_unit_range(array: Volume, low: float, high: float) -> Volume:
    """Saturate outside low..high, then map that to 0..1; all 0 where the two are one."""
    width = np.float32(high - low)
    if not width > 0:
        return np.zeros_like(array)
    return (np.clip(array, np.float32(low), np.float32(high)) - np.float32(low)) / width


def standardise(array: Volume, foreground: NDArray[np.bool_], percentiles: tuple[float, float]) -> Volume:
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


SHRINK = 4
"""The field is smooth, so it is fitted on every fourth voxel an axis."""
FEWEST_VOXELS = 8
"""An axis is not shrunk below this."""


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
