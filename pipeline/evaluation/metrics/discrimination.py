"""How well scores rank the classes.

Every function takes a `Weighted` sample and returns one value per resample, shape (R,); NaN where a class is missing.
With two classes the last is ranked against the first, with more it is the unweighted mean of each against the rest.

Scores of different folds come from different models. They are ranked within their fold, and the folds are combined by
their number of pairs (AUROC) or of positives (average precision).
"""

from collections.abc import Callable

import numpy as np

from pipeline.evaluation.registry import METRICS, ClassMetric
from pipeline.evaluation.sample import Array, Weighted
from pipeline.evaluation.uncertainty.methods import Bootstrap, Obuchowski


def class_auroc(weighted: Weighted, k: int) -> Array:
    """AUROC of class k against the rest."""
    folds = weighted.ranked[k]
    concordant = sum(np.einsum("mr,mr->r", fold.weights, fold.negatives - fold.outranking) for fold in folds)
    return divide(concordant, sum(fold.positives * fold.negatives for fold in folds))


def class_average_precision(weighted: Weighted, k: int) -> Array:
    """Average precision of class k against the rest."""
    folds = weighted.ranked[k]
    summed = sum(
        # Rows with no drawn row at or above them have no weight themselves.
        np.einsum("mr,mr->r", fold.weights, fold.true_positives / np.maximum(fold.called, 1e-300))
        for fold in folds
    )
    return divide(summed, sum(fold.positives for fold in folds))


@METRICS.register(
    "auroc",
    title="AUROC",
    interval=Obuchowski(),
    interval_of_several=Bootstrap(),
    ranks=True,
    of_class=ClassMetric(class_auroc, Obuchowski, ranks=True, needs_every_class=False),
    averaged=True,
    summary=True,
)
def auroc(weighted: Weighted) -> Array:
    """Probability that a random positive scores above a random negative; ties count half."""
    return over_classes(weighted, class_auroc)


@METRICS.register(
    "average_precision",
    title="Average precision",
    ranks=True,
    of_class=ClassMetric(class_average_precision, lambda k: Bootstrap(k=k), ranks=True, needs_every_class=False),
    averaged=True,
    summary=True,
)
def average_precision(weighted: Weighted) -> Array:
    """Precision averaged over the recall steps of the ranking, without interpolation."""
    return over_classes(weighted, class_average_precision)


def over_classes(weighted: Weighted, metric: Callable[[Weighted, int], Array]) -> Array:
    """The positive class of two; the unweighted mean over more."""
    if weighted.sample.is_binary:
        return metric(weighted, 1)
    return np.mean([metric(weighted, k) for k in range(weighted.sample.num_classes)], axis=0)


def divide(numerator: Array, denominator: Array) -> Array:
    """The quotient, NaN where the denominator is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)
