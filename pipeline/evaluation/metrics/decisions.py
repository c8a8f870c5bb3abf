"""How good the called classes are.

Every function takes a `Weighted` sample and gives one value a resample, shape (R,); NaN where nothing is divided by
nothing. Two classes: sensitivity and its kin are about the last class. More: the unweighted mean over the classes.
"""

import numpy as np

from pipeline.evaluation.metrics.discrimination import divide
from pipeline.evaluation.sample import Array, Weighted

ROUNDING = 1e-12


def accuracy(weighted: Weighted) -> Array:
    """Share of rows whose class is called right."""
    return divide(np.trace(weighted.confusion, axis1=1, axis2=2), weighted.total)


def majority_floor(weighted: Weighted) -> Array:
    """Accuracy of always calling the most common class: what accuracy must beat."""
    return divide(weighted.confusion.sum(2).max(1), weighted.total)


def balanced_accuracy(weighted: Weighted) -> Array:
    """Sensitivity averaged over all classes; 1 / K by chance."""
    return recalls(weighted).mean(1)


def sensitivity(weighted: Weighted) -> Array:
    """Share of the class that is called."""
    return of_positive_class(recalls(weighted))


def specificity(weighted: Weighted) -> Array:
    """Share of the rest that is not called."""
    true_positives, called, actual, total = one_vs_rest(weighted)
    return of_positive_class(divide(total - actual - called + true_positives, total - actual))


def positive_predictive_value(weighted: Weighted) -> Array:
    """Share of the calls that are right, at the share of the class in this sample."""
    true_positives, called, _, _ = one_vs_rest(weighted)
    return of_positive_class(divide(true_positives, called))


def negative_predictive_value(weighted: Weighted) -> Array:
    """Share of those not called that are of the rest, at the share of the class in this sample."""
    true_positives, called, actual, total = one_vs_rest(weighted)
    return of_positive_class(divide(total - actual - called + true_positives, total - called))


def f1(weighted: Weighted) -> Array:
    """Harmonic mean of sensitivity and positive predictive value."""
    true_positives, called, actual, _ = one_vs_rest(weighted)
    return of_positive_class(divide(2 * true_positives, called + actual))


def mcc(weighted: Weighted) -> Array:
    """Matthews correlation of true and called classes, Gorodkin's form for several classes; 0 by chance."""
    shares = divide(weighted.confusion, weighted.total[:, None, None])
    actual, called = shares.sum(2), shares.sum(1)
    covariance = np.trace(shares, axis1=1, axis2=2) - (actual * called).sum(1)
    spread = (1 - (actual**2).sum(1)) * (1 - (called**2).sum(1))
    # Weights are no whole numbers: where a single class is called the spread is 0 up to rounding.
    return divide(covariance, np.sqrt(np.where(spread > ROUNDING, spread, 0)))


def kappa(weighted: Weighted) -> Array:
    """Cohen's kappa: agreement beyond what the shares of the classes would give by chance."""
    return agreement(weighted, 1 - np.eye(weighted.sample.num_classes))


def quadratic_kappa(weighted: Weighted) -> Array:
    """Kappa for ordered classes: a call two classes off counts four times a call one class off."""
    steps = np.arange(weighted.sample.num_classes)
    return agreement(weighted, (steps[:, None] - steps) ** 2)


def mean_grades_off(weighted: Weighted) -> Array:
    """Mean number of grades between the true class and the called one, of ordered classes."""
    return weighted.mean(np.abs(weighted.sample.labels - weighted.sample.preds))


def agreement(weighted: Weighted, penalty: Array) -> Array:
    """One minus observed over expected penalty, `penalty` of shape (K, K)."""
    by_chance = np.einsum("ri,rj,ij->r", weighted.confusion.sum(2), weighted.confusion.sum(1), penalty)
    observed = np.einsum("rij,ij->r", weighted.confusion, penalty) * weighted.total
    return 1 - divide(observed, by_chance)


def value_at_prevalence(weighted: Weighted, prevalence: float, *, of_call: bool) -> Array:
    """Positive (`of_call`) or negative predictive value at another share of the positive class; two classes only."""
    sens, spec = sensitivity(weighted), specificity(weighted)
    if of_call:
        right, wrong = sens * prevalence, (1 - spec) * (1 - prevalence)
    else:
        right, wrong = spec * (1 - prevalence), (1 - sens) * prevalence
    return divide(right, right + wrong)


def recalls(weighted: Weighted) -> Array:
    """(R, K) share of each class that is called."""
    return divide(np.diagonal(weighted.confusion, axis1=1, axis2=2), weighted.confusion.sum(2))


def one_vs_rest(weighted: Weighted) -> tuple[Array, Array, Array, Array]:
    """Right calls, calls and rows of each class, each (R, K), and all rows, (R, 1)."""
    confusion = weighted.confusion
    return np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(1), confusion.sum(2), weighted.total[:, None]


def of_positive_class(per_class: Array) -> Array:
    """(R, K) -> (R,): the last of two classes, the mean of more."""
    return per_class[:, -1] if per_class.shape[1] == 2 else per_class.mean(1)
