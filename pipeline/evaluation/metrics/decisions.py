"""How good the predicted classes are.

Every function takes a `Weighted` sample and returns one value per resample, shape (R,); NaN where 0 is divided by 0.
With two classes, sensitivity and the like are about the last class; with more they are unweighted means over classes.
"""

from functools import partial

import numpy as np

from pipeline.evaluation.metrics.discrimination import divide
from pipeline.evaluation.registry import (
    METRICS,
    ClassMetric,
    has_ordered_classes,
    has_two_classes,
)
from pipeline.evaluation.sample import Array, Sample, Weighted
from pipeline.evaluation.uncertainty.methods import (
    AgreementBootstrap,
    Bootstrap,
    CombinedShares,
    MeanOfRows,
    NoInterval,
    Wilson,
    WilsonF1,
)

ROUNDING = 1e-12
FIXED = NoInterval("fixed by the labels, so without an interval")


def is_correct(sample: Sample) -> Array:
    return sample.preds == sample.labels


def is_correct_at_half(sample: Sample) -> Array:
    return (sample.probs[:, 1] > 0.5) == (sample.labels == 1)


def is_class(sample: Sample, k: int) -> Array:
    return sample.labels == k


def is_not_class(sample: Sample, k: int) -> Array:
    return sample.labels != k


def is_predicted(sample: Sample, k: int) -> Array:
    return sample.preds == k


def is_not_predicted(sample: Sample, k: int) -> Array:
    return sample.preds != k


SENSITIVITY, SPECIFICITY = (Wilson(is_correct, partial(is_class, k=k)) for k in (1, 0))


def equal_weights(sample: Sample) -> Array:
    return np.full(sample.num_classes, 1 / sample.num_classes)


def class_recalls(sample: Sample) -> list[Wilson]:
    return [Wilson(is_correct, partial(is_class, k=k)) for k in range(sample.num_classes)]


def class_specificities(sample: Sample) -> list[Wilson]:
    return [Wilson(partial(is_not_predicted, k=k), partial(is_not_class, k=k)) for k in range(sample.num_classes)]


def class_precisions(sample: Sample) -> list[Wilson]:
    return [Wilson(is_correct, partial(is_predicted, k=k)) for k in range(sample.num_classes)]


def class_negative_precisions(sample: Sample) -> list[Wilson]:
    return [Wilson(partial(is_not_class, k=k), partial(is_not_predicted, k=k)) for k in range(sample.num_classes)]


MACRO_RECALL = CombinedShares(class_recalls, equal_weights)


@METRICS.register(
    "accuracy",
    title="Accuracy",
    interval=Wilson(is_correct),
    needs_threshold=True,
    needs_every_class=False,
    averaged=True,
    shifted=True,
    summary=True,
)
def accuracy(weighted: Weighted) -> Array:
    """Share of rows whose class is predicted correctly."""
    return divide(np.trace(weighted.confusion, axis1=1, axis2=2), weighted.total)


@METRICS.register(
    "majority_baseline",
    title="Majority baseline of accuracy",
    interval=FIXED,
    needs_every_class=False,
    averaged=True,
    summary=True,
)
def majority_baseline(weighted: Weighted) -> Array:
    """Accuracy of always predicting the most common class: what accuracy must beat."""
    return divide(weighted.confusion.sum(2).max(1), weighted.total)


@METRICS.register(
    "balanced_accuracy",
    title="Balanced accuracy",
    interval=MACRO_RECALL,
    needs_threshold=True,
    averaged=True,
    shifted=True,
    summary=True,
)
def balanced_accuracy(weighted: Weighted) -> Array:
    """Sensitivity averaged over all classes; 1 / K by chance."""
    return recalls(weighted).mean(1)


def class_sensitivity(weighted: Weighted, k: int) -> Array:
    return recalls(weighted)[:, k]


@METRICS.register(
    "sensitivity",
    title="Sensitivity",
    interval=SENSITIVITY,
    interval_of_several=MACRO_RECALL,
    of_class=ClassMetric(
        class_sensitivity, lambda k: Wilson(is_correct, partial(is_class, k=k)), needs_every_class=False
    ),
    needs_threshold=True,
    needs_every_class=False,
    averaged=True,
    shifted=True,
)
def sensitivity(weighted: Weighted) -> Array:
    """Share of the class that is predicted."""
    return of_positive_class(recalls(weighted))


@METRICS.register(
    "specificity",
    title="Specificity",
    interval=SPECIFICITY,
    interval_of_several=CombinedShares(class_specificities, equal_weights),
    needs_threshold=True,
    needs_every_class=False,
    averaged=True,
    shifted=True,
)
def specificity(weighted: Weighted) -> Array:
    """Share of the other classes that is not predicted as this one."""
    true_positives, predicted, actual, total = one_vs_rest(weighted)
    return of_positive_class(divide(total - actual - predicted + true_positives, total - actual))


@METRICS.register(
    "positive_predictive_value",
    title="Positive predictive value",
    interval=Wilson(is_correct, partial(is_predicted, k=1)),
    interval_of_several=CombinedShares(class_precisions, equal_weights),
    needs_threshold=True,
    needs_every_class=False,
)
def positive_predictive_value(weighted: Weighted) -> Array:
    """Share of positive predictions that are correct, at this sample's prevalence."""
    true_positives, predicted, _, _ = one_vs_rest(weighted)
    return of_positive_class(divide(true_positives, predicted))


@METRICS.register(
    "negative_predictive_value",
    title="Negative predictive value",
    interval=Wilson(is_correct, partial(is_predicted, k=0)),
    interval_of_several=CombinedShares(class_negative_precisions, equal_weights),
    needs_threshold=True,
    needs_every_class=False,
)
def negative_predictive_value(weighted: Weighted) -> Array:
    """Share of negative predictions that are correct, at this sample's prevalence."""
    true_positives, predicted, actual, total = one_vs_rest(weighted)
    return of_positive_class(divide(total - actual - predicted + true_positives, total - predicted))


@METRICS.register(
    "accuracy_at_0.5",
    title="Accuracy at threshold 0.5",
    interval=Wilson(is_correct_at_half),
    needs_every_class=False,
    applies=has_two_classes,
)
def accuracy_at_half(weighted: Weighted) -> Array:
    """Accuracy of the more probable class: comparable with results published without a chosen threshold."""
    return weighted.mean(is_correct_at_half(weighted.sample).astype(float))


@METRICS.register(
    "f1", title="F1", interval=WilsonF1(), interval_of_several=Bootstrap(), needs_threshold=True, averaged=True
)
def f1(weighted: Weighted) -> Array:
    """Harmonic mean of sensitivity and positive predictive value."""
    true_positives, predicted, actual, _ = one_vs_rest(weighted)
    return of_positive_class(divide(2 * true_positives, predicted + actual))


@METRICS.register(
    "mcc", title="Matthews correlation", interval=AgreementBootstrap(), needs_threshold=True, averaged=True
)
def mcc(weighted: Weighted) -> Array:
    """Matthews correlation of true and predicted classes, Gorodkin's form for several classes; 0 by chance."""
    shares = divide(weighted.confusion, weighted.total[:, None, None])
    actual, predicted = shares.sum(2), shares.sum(1)
    covariance = np.trace(shares, axis1=1, axis2=2) - (actual * predicted).sum(1)
    spread = (1 - (actual**2).sum(1)) * (1 - (predicted**2).sum(1))
    # Weights are not whole numbers: where a single class is predicted the spread is 0 up to rounding.
    return divide(covariance, np.sqrt(np.where(spread > ROUNDING, spread, 0)))


@METRICS.register("kappa", title="Cohen's kappa", interval=AgreementBootstrap(), needs_threshold=True)
def kappa(weighted: Weighted) -> Array:
    """Cohen's kappa: agreement beyond what the class shares give by chance."""
    return agreement(weighted, 1 - np.eye(weighted.sample.num_classes))


@METRICS.register(
    "quadratic_kappa", title="Quadratic kappa", interval=AgreementBootstrap(), applies=has_ordered_classes
)
def quadratic_kappa(weighted: Weighted) -> Array:
    """Kappa for ordered classes: an error of two grades counts four times an error of one grade."""
    steps = np.arange(weighted.sample.num_classes)
    return agreement(weighted, (steps[:, None] - steps) ** 2)


def grade_errors(sample: Sample) -> Array:
    return np.abs(sample.labels - sample.preds).astype(float)


@METRICS.register(
    "mean_absolute_error",
    title="Mean absolute error in grades",
    interval=MeanOfRows(grade_errors, lambda sample: (0, sample.num_classes - 1)),
    applies=has_ordered_classes,
)
def mean_absolute_error(weighted: Weighted) -> Array:
    """Mean number of grades between the true class and the predicted one, of ordered classes."""
    return weighted.mean(grade_errors(weighted.sample))


def agreement(weighted: Weighted, penalty: Array) -> Array:
    """One minus observed over expected penalty, `penalty` of shape (K, K)."""
    by_chance = np.einsum("ri,rj,ij->r", weighted.confusion.sum(2), weighted.confusion.sum(1), penalty)
    observed = np.einsum("rij,ij->r", weighted.confusion, penalty) * weighted.total
    return 1 - divide(observed, by_chance)


def recalls(weighted: Weighted) -> Array:
    """(R, K) share of each class that is predicted."""
    return divide(np.diagonal(weighted.confusion, axis1=1, axis2=2), weighted.confusion.sum(2))


def one_vs_rest(weighted: Weighted) -> tuple[Array, Array, Array, Array]:
    """Correct predictions, predictions and rows of each class, each (R, K), and all rows, (R, 1)."""
    confusion = weighted.confusion
    return np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(1), confusion.sum(2), weighted.total[:, None]


def of_positive_class(per_class: Array) -> Array:
    """(R, K) -> (R,): the last of two classes, the mean of more."""
    return per_class[:, -1] if per_class.shape[1] == 2 else per_class.mean(1)
