"""Calibration: do probabilities match observed shares?

Every function takes a `Weighted` sample and returns one value per resample, shape (R,).
"""

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import expit

from pipeline.evaluation.metrics.decisions import FIXED
from pipeline.evaluation.metrics.discrimination import divide
from pipeline.evaluation.registry import METRICS, has_two_classes
from pipeline.evaluation.sample import Array, Sample, Weighted
from pipeline.evaluation.uncertainty.methods import MeanOfRows, NoInterval, PatientInfluence

NUM_BINS = 10
EQUAL_WIDTH = "equal_width"
SMALLEST_PROB = 1e-7
"""Keeps the logit of a probability of 0 or 1 finite; single precision resolves no more."""
NEWTON_STEPS = 30
LARGEST_LEVERAGE = 0.9
INFLATED = NoInterval("chance adds to it more than resampling can show, so without an interval")


def squared_distances(sample: Sample) -> Array:
    """(n,) squared distance of the probabilities from the label; for two classes, of one of them."""
    distances = ((sample.probs - sample.onehot) ** 2).sum(1)
    return distances / 2 if sample.is_binary else distances


def negative_log_probs(sample: Sample) -> Array:
    """(n,) negative natural logarithm of the probability of the true class."""
    of_label = np.take_along_axis(sample.probs, sample.labels[:, None], axis=1)[:, 0]
    return -np.log(np.maximum(of_label, SMALLEST_PROB))


def largest_brier_score(sample: Sample) -> tuple[float, float]:
    return (0, 1) if sample.is_binary else (0, 2)


@METRICS.register(
    "brier_score",
    title="Brier score",
    interval=MeanOfRows(squared_distances, largest_brier_score),
    averaged=True,
    recalibrated=True,
    summary=True,
)
def brier_score(weighted: Weighted) -> Array:
    """Mean squared distance from the truth: of the positive class of two (0..1), summed over more classes (0..2)."""
    return weighted.mean(squared_distances(weighted.sample))


@METRICS.register("log_loss", title="Log loss", interval=MeanOfRows(negative_log_probs, (0, np.inf)), recalibrated=True)
def log_loss(weighted: Weighted) -> Array:
    """Mean negative natural logarithm of the probability of what was true."""
    return weighted.mean(negative_log_probs(weighted.sample))


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


def observed_expected_rows(sample: Sample) -> Array:
    """(n,) the ratio of observed to expected positives plus what each row adds to it to first order."""
    observed, expected = (sample.labels == 1).astype(float), sample.probs[:, 1]
    ratio = observed.mean() / expected.mean()
    return ratio + (observed - ratio * expected) / expected.mean()


@METRICS.register(
    "observed_expected_ratio",
    title="Observed / expected",
    interval=MeanOfRows(observed_expected_rows, (0, np.inf)),
    applies=has_two_classes,
    one_vs_rest=True,
    recalibrated=True,
    summary=True,
)
def observed_expected_ratio(weighted: Weighted) -> Array:
    """Calibration in the large: positives over the sum of all probabilities; over 1 where risk is underestimated."""
    is_positive = (weighted.sample.labels == 1).astype(float)
    return divide(weighted.mean(is_positive), weighted.mean(weighted.sample.probs[:, 1]))


def slope_influence(sample: Sample) -> Array:
    """(P,) influence of each patient on the calibration slope."""
    scores, labels = logit(sample.probs[:, 1]), (sample.labels == 1).astype(float)
    intercept, slope = logistic_fit(sample.weighted())[0]
    design = np.stack([np.ones(len(scores)), scores], axis=1)
    return patient_influence(sample, design, labels, intercept + slope * scores)[:, 1]


def intercept_influence(sample: Sample) -> Array:
    """(P,) influence of each patient on the calibration intercept."""
    scores, labels = logit(sample.probs[:, 1]), (sample.labels == 1).astype(float)
    intercept = logistic_fit(sample.weighted(), slope=1.0)[0, 0]
    return patient_influence(sample, np.ones((len(scores), 1)), labels, intercept + scores)[:, 0]


def patient_influence(sample: Sample, design: Array, labels: Array, linear: Array) -> Array:
    """(P, C) influence of each patient on the C coefficients of a logistic regression, `design` (n, C).

    Divided by one minus the patient's leverage, which makes their squares sum to the variance that leaving out one
    patient at a time shows (MacKinnon and White, Journal of Econometrics 1985;29:305-325, for clusters).
    """
    probs = expit(linear)
    information = probs * (1 - probs)
    inverse = np.linalg.inv((design.T * information) @ design)
    leverage = np.einsum("nc,cd,nd->n", design, inverse, design) * information
    scores = design * (labels - probs)[:, None]
    of_patients = np.stack([np.bincount(sample.patients, weights=column) for column in scores.T], axis=1)
    kept = 1 - np.bincount(sample.patients, weights=leverage)
    return (of_patients @ inverse) / np.maximum(kept, 1 - LARGEST_LEVERAGE)[:, None]


@METRICS.register(
    "calibration_slope",
    title="Calibration slope",
    interval=PatientInfluence(slope_influence),
    applies=has_two_classes,
    one_vs_rest=True,
    recalibrated=True,
)
def calibration_slope(weighted: Weighted) -> Array:
    """Slope of the label on the logit of the probability: under 1 is overconfident."""
    return logistic_fit(weighted)[:, 1]


@METRICS.register(
    "calibration_intercept",
    title="Calibration intercept",
    interval=PatientInfluence(intercept_influence),
    applies=has_two_classes,
    one_vs_rest=True,
    recalibrated=True,
)
def calibration_intercept(weighted: Weighted) -> Array:
    """Calibration in the large: the shift of the logit that makes the mean probability right."""
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


@METRICS.register(
    "brier_miscalibration",
    title="Brier score, miscalibration",
    interval=INFLATED,
    recalibrated=True,
)
def brier_miscalibration(weighted: Weighted) -> Array:
    """Score lost to miscalibration; 0 is best."""
    return brier_score(weighted) - recalibrated_brier_score(weighted)


@METRICS.register(
    "brier_discrimination",
    title="Brier score, discrimination",
    interval=INFLATED,
)
def brier_discrimination(weighted: Weighted) -> Array:
    """Score gained by discrimination; at most the uncertainty."""
    return brier_uncertainty(weighted) - recalibrated_brier_score(weighted)


@METRICS.register(
    "brier_uncertainty",
    title="Brier score of the class shares",
    interval=FIXED,
    needs_every_class=False,
)
def brier_uncertainty(weighted: Weighted) -> Array:
    """Score of always predicting this sample's class shares."""
    shares = weighted.confusion.sum(2)[:, scored_classes(weighted.sample)] / weighted.total[:, None]
    return (shares * (1 - shares)).sum(1)


def skill_rows(sample: Sample) -> Array:
    """(n,) the skill score plus what each row adds to it to first order, through its loss and through the floor."""
    losses, shares = squared_distances(sample), sample.onehot.mean(0)
    scale = 0.5 if sample.is_binary else 1.0
    floor = scale * (1 - (shares**2).sum())
    added_to_floor = -2 * scale * (shares[sample.labels] - (shares**2).sum())
    ratio = losses.mean() / floor
    return 1 - ratio - (losses - losses.mean()) / floor + ratio * added_to_floor / floor


@METRICS.register(
    "brier_skill_score",
    title="Brier skill score",
    interval=MeanOfRows(skill_rows, (-np.inf, 1)),
    averaged=True,
    recalibrated=True,
    summary=True,
)
def brier_skill_score(weighted: Weighted) -> Array:
    """Share of the Brier score of the class shares that the model takes away; 0 is no better than these shares."""
    return 1 - divide(brier_score(weighted), brier_uncertainty(weighted))


def recalibrated_brier_score(weighted: Weighted) -> Array:
    """Score of the isotonic recalibration of each class's probabilities."""
    return sum(
        class_score(weighted, weighted.sample.probs[:, k], weighted.sample.onehot[:, k])
        for k in scored_classes(weighted.sample)
    )


def scored_classes(sample: Sample) -> list[int]:
    """The positive class of two, every one of more."""
    return [1] if sample.is_binary else list(range(sample.num_classes))


def class_score(weighted: Weighted, predicted: Array, observed: Array) -> Array:
    """(R,) score of one class's probabilities after isotonic recalibration."""
    order = np.argsort(predicted, kind="stable")
    starts = np.unique(predicted[order], return_index=True)[1]
    weights = weighted.weights[:, order]
    counts = np.add.reduceat(weights, starts, axis=1)
    positives = np.add.reduceat(weights * observed[order], starts, axis=1)
    return np.array([isotonic_score(*pair) for pair in zip(counts, positives, strict=True)]) / weighted.total


def isotonic_score(counts: Array, positives: Array) -> float:
    """Summed squared distance of 0 and 1 from the isotonic curve through rows grouped by equal probability."""
    drawn = counts > 0
    shares = isotonic_regression(positives[drawn] / counts[drawn], weights=counts[drawn]).x
    return float((positives[drawn] * (1 - shares) ** 2 + (counts - positives)[drawn] * shares**2).sum())
