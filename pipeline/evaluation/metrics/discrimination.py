"""How well scores put the classes in order.

Every function takes a `Weighted` sample and gives one value a resample, shape (R,); NaN where a class is missing. Two
classes: the last against the first. More: the unweighted mean of one against the rest.

Scores of different folds come from different models. They are ranked within their fold, and the folds are combined by
the number of pairs (AUROC) or of positives (average precision).
"""

from collections.abc import Callable

import numpy as np

from pipeline.evaluation.sample import Array, Weighted


def auroc(weighted: Weighted) -> Array:
    """Chance that a random positive scores above a random negative; ties count half."""
    return over_classes(weighted, class_auroc)


def average_precision(weighted: Weighted) -> Array:
    """Precision averaged over the recall steps of the ranking, without interpolation."""
    return over_classes(weighted, class_average_precision)


def over_classes(weighted: Weighted, figure: Callable[[Weighted, int], Array]) -> Array:
    if weighted.sample.is_binary:
        return figure(weighted, 1)
    return np.mean([figure(weighted, k) for k in range(weighted.sample.num_classes)], axis=0)


def class_auroc(weighted: Weighted, k: int) -> Array:
    """AUROC of class k against the rest."""
    folds = weighted.ranked[k]
    concordant = sum(np.einsum("mr,mr->r", fold.weights, fold.negatives - fold.outrankers) for fold in folds)
    return divide(concordant, sum(fold.positives * fold.negatives for fold in folds))


def class_average_precision(weighted: Weighted, k: int) -> Array:
    """Average precision of class k against the rest."""
    folds = weighted.ranked[k]
    summed = sum(
        # Nothing called is nothing drawn: such rows have no weight.
        np.einsum("mr,mr->r", fold.weights, fold.true_positives / np.maximum(fold.called, 1e-300))
        for fold in folds
    )
    return divide(summed, sum(fold.positives for fold in folds))


def divide(numerator: Array, denominator: Array) -> Array:
    """The quotient, NaN where nothing is divided by nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)
