"""The Brier score taken apart: what miscalibration costs, and what telling patients apart gains.

Recalibrating by the best rising curve gives the score that the same ranking could reach. What is lost against it is
miscalibration, what it gains on always stating the share of the class is discrimination: Brier score = miscalibration -
discrimination + uncertainty, without bins to choose (Dimitriadis, Gneiting and Jordan, PNAS 2021;118:e2016191118).

Every function takes a `Weighted` sample and gives one value a resample, shape (R,); several classes are summed over.
"""

import numpy as np
from scipy.optimize import isotonic_regression

from pipeline.evaluation.metrics.calibration import brier_score
from pipeline.evaluation.sample import Array, Sample, Weighted


def brier_miscalibration(weighted: Weighted) -> Array:
    """Score lost because probabilities do not mean what they say; 0 is best."""
    return brier_score(weighted) - recalibrated_brier_score(weighted)


def brier_discrimination(weighted: Weighted) -> Array:
    """Score gained by telling patients apart; at most the uncertainty."""
    return brier_uncertainty(weighted) - recalibrated_brier_score(weighted)


def brier_uncertainty(weighted: Weighted) -> Array:
    """Score of always stating the shares of the classes in this sample."""
    shares = weighted.confusion.sum(2)[:, judged_classes(weighted.sample)] / weighted.total[:, None]
    return (shares * (1 - shares)).sum(1)


def recalibrated_brier_score(weighted: Weighted) -> Array:
    """Score of the best rising curve through each class's probabilities."""
    return sum(
        class_score(weighted, weighted.sample.probs[:, k], weighted.sample.onehot[:, k])
        for k in judged_classes(weighted.sample)
    )


def judged_classes(sample: Sample) -> list[int]:
    """The positive class of two, every one of more."""
    return [1] if sample.is_binary else list(range(sample.num_classes))


def class_score(weighted: Weighted, stated: Array, happened: Array) -> Array:
    """(R,) score of one class's probabilities after the best rising correction."""
    order = np.argsort(stated, kind="stable")
    starts = np.unique(stated[order], return_index=True)[1]
    weights = weighted.weights[:, order]
    counts = np.add.reduceat(weights, starts, axis=1)
    positives = np.add.reduceat(weights * happened[order], starts, axis=1)
    return np.array([rising_score(*pair) for pair in zip(counts, positives, strict=True)]) / weighted.total


def rising_score(counts: Array, positives: Array) -> float:
    """Summed squared distance of 0 and 1 from the best rising curve through rows grouped by equal probability."""
    drawn = counts > 0
    shares = isotonic_regression(positives[drawn] / counts[drawn], weights=counts[drawn]).x
    return float((positives[drawn] * (1 - shares) ** 2 + (counts - positives)[drawn] * shares**2).sum())
