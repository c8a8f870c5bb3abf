"""Calibration: do probabilities match observed shares?

Every function takes a `Weighted` sample and returns one value per resample, shape (R,).
"""

import numpy as np

from pipeline.evaluation.registry import METRICS, has_two_classes
from pipeline.evaluation.sample import Array, Sample, Weighted
from pipeline.evaluation.uncertainty.methods import UNBOUNDED, Bootstrap, NoInterval

NUM_BINS = 10
EQUAL_WIDTH = "equal_width"
SMALLEST_PROB = 1e-7
"""Keeps the logit of a probability of 0 or 1 finite; single precision resolves no more."""
NEWTON_STEPS = 30
INFLATED = NoInterval("chance adds to it more than resampling can show, so without an interval")


def largest_brier_score(sample: Sample) -> tuple[float, float]:
    return (0, 1) if sample.is_binary else (0, 2)


@METRICS.register(
    "brier_score",
    title="Brier score",
    interval=Bootstrap(largest_brier_score),
    averaged=True,
    recalibrated=True,
    summary=True,
)
def brier_score(weighted: Weighted) -> Array:
    """Mean squared distance from the truth: of the positive class of two (0..1), summed over more classes (0..2)."""
    distances = ((weighted.sample.probs - weighted.sample.onehot) ** 2).sum(1)
    return weighted.mean(distances / 2 if weighted.sample.is_binary else distances)


@METRICS.register("log_loss", title="Log loss", interval=Bootstrap((0, np.inf)), recalibrated=True)
def log_loss(weighted: Weighted) -> Array:
    """Mean negative natural logarithm of the probability of what was true."""
    of_truth = np.take_along_axis(weighted.sample.probs, weighted.sample.labels[:, None], axis=1)[:, 0]
    return weighted.mean(-np.log(np.maximum(of_truth, SMALLEST_PROB)))


@METRICS.register(
    "expected_calibration_error",
    title="Expected calibration error",
    interval=INFLATED,
    settings=("calibration_bins",),
    recalibrated=True,
)
def expected_calibration_error(weighted: Weighted, calibration_bins: str = EQUAL_WIDTH) -> Array:
    """Mean gap between predicted and observed share over ten bins, of equal width or with equally many rows.

    Predicted is the probability of the positive class of two, of the predicted class of more. It is biased upwards in
    small samples, most of all with many bins.
    """
    predicted, observed = predicted_and_observed(weighted.sample)
    bins = np.eye(NUM_BINS)[bin_of(predicted, calibration_bins)]
    gaps = weighted.weights @ (bins * (predicted - observed)[:, None])
    return np.abs(gaps).sum(1) / weighted.total


def predicted_and_observed(sample: Sample) -> tuple[Array, Array]:
    """(n,) predicted probability, and 1 where the prediction is correct."""
    if sample.is_binary:
        return sample.probs[:, 1], (sample.labels == 1).astype(float)
    preds = sample.probs.argmax(1)
    return sample.probs.max(1), (sample.labels == preds).astype(float)


def bin_of(predicted: Array, binning: str = EQUAL_WIDTH) -> Array:
    """(n,) the bin of each probability, of (0, .1], (.1, .2] … or of tenths of the rows; 0 is in the first."""
    inner = np.linspace(0, 1, NUM_BINS + 1)[1:-1]
    edges = inner if binning == EQUAL_WIDTH else np.quantile(predicted, inner)
    return np.searchsorted(edges, predicted, side="left")


@METRICS.register(
    "calibration_slope",
    title="Calibration slope",
    interval=Bootstrap(UNBOUNDED),
    applies=has_two_classes,
    recalibrated=True,
)
def calibration_slope(weighted: Weighted) -> Array:
    """Slope of the label on the logit of the probability: under 1 is overconfident; two classes only."""
    return logistic_fit(weighted)[:, 1]


@METRICS.register(
    "calibration_intercept",
    title="Calibration intercept",
    interval=Bootstrap(UNBOUNDED),
    applies=has_two_classes,
    recalibrated=True,
)
def calibration_intercept(weighted: Weighted) -> Array:
    """Calibration in the large: the shift of the logit that makes the mean probability right; two classes only."""
    return logistic_fit(weighted, slope=1.0)[:, 0]


def logistic_fit(weighted: Weighted, slope: float | None = None) -> Array:
    """(R, 2) intercept and slope of the label on the logit, by Newton's method in all resamples at once.

    With `slope` given only the intercept is fitted. NaN where the fit diverges, as it does when the classes are
    separated.
    """
    scores, labels = logit(weighted.sample.probs[:, 1]), (weighted.sample.labels == 1).astype(float)
    scale = max(scores.std(), SMALLEST_PROB)
    fitted = np.zeros((len(weighted.weights), 2))
    fitted[:, 1] = 0 if slope is None else slope * scale
    for _ in range(NEWTON_STEPS):
        step = newton_step(weighted.weights, scores / scale, labels, fitted, only_intercept=slope is not None)
        # A full step from a flat part of the curve would land on the flat part of the other side.
        fitted = fitted + np.clip(step, -1, 1)
        if np.nanmax(np.abs(step), initial=0) < 1e-8:
            break
    converged = np.abs(step).max(1, keepdims=True) < 1e-4
    return np.where(converged, fitted / [1, scale], np.nan)


def newton_step(weights: Array, scores: Array, labels: Array, fitted: Array, *, only_intercept: bool) -> Array:
    """(R, 2) the next Newton step from `fitted` towards the maximum of the likelihood."""
    probs = 1 / (1 + np.exp(-np.clip(fitted[:, :1] + fitted[:, 1:] * scores, -500, 500)))
    gap, information = weights * (labels - probs), weights * probs * (1 - probs)
    slope_gap, total, first, second = gap @ scores, information.sum(1), information @ scores, information @ scores**2
    with np.errstate(divide="ignore", invalid="ignore"):
        if only_intercept:
            return np.stack([gap.sum(1) / total, np.zeros(len(total))], axis=1)
        determinant = total * second - first**2
        intercept = (second * gap.sum(1) - first * slope_gap) / determinant
        return np.stack([intercept, (total * slope_gap - first * gap.sum(1)) / determinant], axis=1)


def logit(probs: Array) -> Array:
    clipped = np.clip(probs, SMALLEST_PROB, 1 - SMALLEST_PROB)
    return np.log(clipped) - np.log1p(-clipped)
