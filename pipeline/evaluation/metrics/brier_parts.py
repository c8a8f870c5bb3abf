"""Decomposition of the Brier score: the cost of miscalibration, and the gain of discrimination.

Isotonic recalibration gives the score that the same ranking could reach. The excess over it is miscalibration, its
gain over always predicting the class share is discrimination: Brier score = miscalibration - discrimination +
uncertainty, without bins to choose (Dimitriadis, Gneiting and Jordan, PNAS 2021;118:e2016191118).

Every function takes a `Weighted` sample and returns one value per resample, shape (R,); several classes are summed.
"""

import numpy as np
from scipy.optimize import isotonic_regression

from pipeline.evaluation.metrics.calibration import INFLATED, brier_score, squared_distances
from pipeline.evaluation.metrics.decisions import FIXED
from pipeline.evaluation.metrics.discrimination import divide
from pipeline.evaluation.registry import METRICS
from pipeline.evaluation.sample import Array, Sample, Weighted
from pipeline.evaluation.uncertainty.methods import MeanOfRows


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
