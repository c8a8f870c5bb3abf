"""Whether probabilities mean what they say.

Every function takes a `Weighted` sample and gives one value a resample, shape (R,).
"""

import numpy as np

from pipeline.evaluation.sample import Array, Sample, Weighted

NUM_BINS = 10
EQUAL_WIDTH = "equal_width"
SMALLEST_PROB = 1e-7
"""Keeps the logit of a probability of 0 or 1 finite: single precision cannot say more either."""
NEWTON_STEPS = 30


def brier_score(weighted: Weighted) -> Array:
    """Mean squared distance from the truth: of the positive class of two (0..1), summed over more classes (0..2)."""
    distances = ((weighted.sample.probs - weighted.sample.onehot) ** 2).sum(1)
    return weighted.mean(distances / 2 if weighted.sample.is_binary else distances)


def log_loss(weighted: Weighted) -> Array:
    """Mean negative natural logarithm of the probability of what was true."""
    of_truth = np.take_along_axis(weighted.sample.probs, weighted.sample.labels[:, None], axis=1)[:, 0]
    return weighted.mean(-np.log(np.maximum(of_truth, SMALLEST_PROB)))


def expected_calibration_error(weighted: Weighted, binning: str = EQUAL_WIDTH) -> Array:
    """Mean gap between stated and observed share over ten bins, of equal width or with equally many rows.

    Stated is the positive class's probability of two, the called class's of more. It is biased upwards in small
    samples, most of all with many bins.
    """
    stated, happened = stated_and_happened(weighted.sample)
    bins = np.eye(NUM_BINS)[bin_of(stated, binning)]
    gaps = weighted.weights @ (bins * (stated - happened)[:, None])
    return np.abs(gaps).sum(1) / weighted.total


def stated_and_happened(sample: Sample) -> tuple[Array, Array]:
    """(n,) stated probability, and one where it came true."""
    if sample.is_binary:
        return sample.probs[:, 1], (sample.labels == 1).astype(float)
    preds = sample.probs.argmax(1)
    return sample.probs.max(1), (sample.labels == preds).astype(float)


def bin_of(stated: Array, binning: str = EQUAL_WIDTH) -> Array:
    """Which of the bins (0, .1], (.1, .2] … or tenths of the rows each probability falls in; 0 is in the first."""
    inner = np.linspace(0, 1, NUM_BINS + 1)[1:-1]
    edges = inner if binning == EQUAL_WIDTH else np.quantile(stated, inner)
    return np.searchsorted(edges, stated, side="left")


def calibration_slope(weighted: Weighted) -> Array:
    """Slope of the truth on the logit of the probability: under 1 is overconfident; two classes only."""
    return logistic_fit(weighted)[:, 1]


def calibration_intercept(weighted: Weighted) -> Array:
    """Calibration in the large: the shift of the logit that makes the mean probability right; two classes only."""
    return logistic_fit(weighted, slope=1.0)[:, 0]


def logistic_fit(weighted: Weighted, slope: float | None = None) -> Array:
    """(R, 2) intercept and slope of the label on the logit, by Newton's method in all resamples at once.

    With `slope` given only the intercept is fitted. NaN where the fit runs away, as it does when the classes are
    separated.
    """
    scores, labels = logit(weighted.sample.probs[:, 1]), (weighted.sample.labels == 1).astype(float)
    scale = max(scores.std(), SMALLEST_PROB)
    fitted = np.zeros((len(weighted.weights), 2))
    fitted[:, 1] = 0 if slope is None else slope * scale
    for _ in range(NEWTON_STEPS):
        step = newton_step(weighted.weights, scores / scale, labels, fitted, only_intercept=slope is not None)
        # A full step from where the curve is flat lands where it is flat on the other side.
        fitted = fitted + np.clip(step, -1, 1)
        if np.nanmax(np.abs(step), initial=0) < 1e-8:
            break
    stopped = np.abs(step).max(1, keepdims=True) < 1e-4
    return np.where(stopped, fitted / [1, scale], np.nan)


def newton_step(weights: Array, scores: Array, labels: Array, fitted: Array, *, only_intercept: bool) -> Array:
    """(R, 2) the next step from `fitted` towards the greatest likelihood."""
    stated = 1 / (1 + np.exp(-np.clip(fitted[:, :1] + fitted[:, 1:] * scores, -500, 500)))
    gap, information = weights * (labels - stated), weights * stated * (1 - stated)
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
