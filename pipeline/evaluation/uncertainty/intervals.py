"""Formulas of intervals: from a value and its spread to (low, high)."""

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, ndtri, stdtrit

from pipeline.evaluation.sample import Array

MOST_UNDEFINED = 0.05
"""Share of resamples in which a metric may be undefined before its interval is undefined too."""
ROUNDING = 1e-9
"""Weights are not whole numbers, so equal values differ in their last digits."""


def normal_quantile(confidence: float) -> float:
    return float(ndtri((1 + confidence) / 2))


def student_quantile(confidence: float, degrees_of_freedom: float) -> float:
    return float(stdtrit(degrees_of_freedom, (1 + confidence) / 2))


def logit_interval(value: float, variance: float, confidence: float) -> tuple[float, float]:
    """Normal on the logit scale: stays inside 0..1, and is skewed near the ends as the AUROC is."""
    reach = normal_quantile(confidence) * np.sqrt(variance) / (value * (1 - value))
    center = np.log(value / (1 - value))
    return float(1 / (1 + np.exp(reach - center))), float(1 / (1 + np.exp(-reach - center)))


def separated_auroc_interval(
    value: float, num_positives: int, num_negatives: int, confidence: float
) -> tuple[float, float]:
    """Interval of an AUROC of 0 or 1, whose observed variance is 0 (Newcombe, Statistics in Medicine 2006;25:559-573).

    Method 5: the values from which the observed one is a standard number of deviations away, the deviation being
    Hanley and McNeil's at that value. Counts are of patients.
    """
    squared_quantile = normal_quantile(confidence) ** 2
    smaller = (num_positives + num_negatives) / 2 - 1

    def excess(distance: float) -> float:
        inflation = 1 + smaller * (distance / (1 + distance) + (1 - distance) / (2 - distance))
        variance = distance * (1 - distance) * inflation / (num_positives * num_negatives)
        return distance**2 - squared_quantile * variance

    distance = float(brentq(excess, 1e-9, 1 - 1e-9))
    return (1 - distance, 1.0) if value == 1 else (0.0, distance)


def wilson_interval(share: float, count: float, confidence: float) -> tuple[float, float]:
    """Wilson's score interval of a share of `count`, which need not be a whole number."""
    return wilson_bounds(share, count, normal_quantile(confidence))


def wilson_bounds(share: float, count: float, quantile: float) -> tuple[float, float]:
    """The shares from which the observed one is `quantile` standard errors away."""
    squared = quantile**2
    center = (share + squared / (2 * count)) / (1 + squared / count)
    reach = np.sqrt(squared * (share * (1 - share) / count + squared / (4 * count**2))) / (1 + squared / count)
    return max(0.0, float(center - reach)), min(1.0, float(center + reach))


def skewed_mean_interval(value: float, excess: Array, confidence: float) -> tuple[float, float] | str:
    """Interval of a mean, from the (P,) contributions of independent patients to its deviation from `value`.

    Losses are skewed: a few patients lose much. A cubic transformation of Student's t removes the skewness (Hall,
    Journal of the Royal Statistical Society B 1992;54:221-228).
    """
    num_patients, squares = len(excess), float((excess**2).sum())
    if squares < ROUNDING**2:
        return "all rows have the same value, so the spread is unknown"
    error = np.sqrt(num_patients / (num_patients - 1) * squares)
    # Skewness divided by the square root of the number of patients.
    skewness = float((excess**3).sum() / squares**1.5)
    quantile = student_quantile(confidence, num_patients - 1)
    return value - error * unskewed(quantile, skewness), value - error * unskewed(-quantile, skewness)


def unskewed(quantile: float, skewness: float) -> float:
    """Inverse of Hall's transformation t -> t + c t^2 / 3 + c^2 t^3 / 27 + c / 6."""
    if abs(skewness) < ROUNDING:
        return quantile
    return 3 / skewness * float(np.cbrt(1 + skewness * (quantile - skewness / 6)) - 1)


def bootstrap_interval(
    value: float, values: Array, bounds: tuple[float, float], num_patients: int, confidence: float
) -> tuple[float, float] | str:
    """Student's t on a scale without `bounds`, from the spread and the bias of the resampled values; or why not.

    Percentiles of few patients are too narrow and, for metrics near a bound, off center (on average precision: Boyd,
    Eng and Page, ECML PKDD 2013, who recommend the logit scale). The spread is that of the values themselves, brought
    to the scale by its slope at the value: resamples next to a bound are far out on it, and would widen the interval
    far too much. `num_patients` is that of the rarest class, which limits the degrees of freedom.
    """
    defined = values[np.isfinite(values)]
    if len(defined) < (1 - MOST_UNDEFINED) * len(values):
        return f"undefined in {1 - len(defined) / len(values):.0%} of the resamples"
    if np.ptp(defined) < ROUNDING:
        return "all resamples agree, so the spread is unknown"
    observed, *resampled = unbounded(np.append(value, defined), bounds)
    # What resampling adds to the value, sampling had added to the truth.
    center = 2 * observed - np.mean(resampled)
    error = np.std(defined, ddof=1) * slope(bounded(observed, bounds), bounds)
    reach = student_quantile(confidence, num_patients - 1) * error
    low, high = bounded(np.array([min(center - reach, observed), max(center + reach, observed)]), bounds)
    return float(low), float(high)


def unbounded(values: Array, bounds: tuple[float, float]) -> Array:
    """Values on a scale without bounds: the logit between two bounds, the logarithm above one."""
    low, high = bounds
    assert (values > low - ROUNDING).all() and (values < high + ROUNDING).all(), "a metric is outside its bounds"
    if np.isinf(low):
        return values
    inside = off_bound(values, low)
    if np.isinf(high):
        return np.log(inside - low)
    inside = off_bound(inside, high)
    return np.log(inside - low) - np.log(high - inside)


def off_bound(values: Array, bound: float) -> Array:
    """Values on the bound, up to rounding, moved half way to the nearest other value."""
    is_on = np.abs(values - bound) < ROUNDING
    others = values[~is_on]
    nearest = others[np.abs(others - bound).argmin()]
    return np.where(is_on, (bound + nearest) / 2, values)


def bounded(values: Array | float, bounds: tuple[float, float]) -> Array:
    """Inverse of `unbounded`."""
    low, high = bounds
    if np.isinf(low):
        return values
    return low + np.exp(values) if np.isinf(high) else low + (high - low) * expit(values)


def slope(value: float, bounds: tuple[float, float]) -> float:
    """Derivative of `unbounded` at a value inside the bounds."""
    low, high = bounds
    if np.isinf(low):
        return 1.0
    return 1 / (value - low) if np.isinf(high) else 1 / (value - low) + 1 / (high - value)
