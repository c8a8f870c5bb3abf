"""What a prediction says about a patient: likelihood ratios, and predictive values at a stated prevalence.

Every function takes a `Weighted` sample of two classes and returns one value per resample, shape (R,).
"""

from pipeline.evaluation.metrics.decisions import SENSITIVITY, SPECIFICITY, sensitivity, specificity
from pipeline.evaluation.metrics.discrimination import divide
from pipeline.evaluation.registry import METRICS, has_prevalence, has_two_classes
from pipeline.evaluation.sample import Array, Weighted
from pipeline.evaluation.uncertainty.methods import LikelihoodRatio, PredictiveValue


@METRICS.register(
    "positive_likelihood_ratio",
    title="Positive likelihood ratio",
    interval=LikelihoodRatio(SENSITIVITY, SPECIFICITY),
    needs_threshold=True,
    applies=has_two_classes,
)
def positive_likelihood_ratio(weighted: Weighted) -> Array:
    """Factor by which a positive prediction raises the odds of the positive class; undefined without a false one."""
    return divide(sensitivity(weighted), 1 - specificity(weighted))


@METRICS.register(
    "negative_likelihood_ratio",
    title="Negative likelihood ratio",
    interval=LikelihoodRatio(SPECIFICITY, SENSITIVITY, is_inverse=True),
    needs_threshold=True,
    applies=has_two_classes,
)
def negative_likelihood_ratio(weighted: Weighted) -> Array:
    """Factor by which a negative prediction lowers the odds of the positive class."""
    return divide(1 - sensitivity(weighted), specificity(weighted))


@METRICS.register(
    "positive_predictive_value_at_prevalence",
    title="Positive predictive value at the stated prevalence",
    interval=PredictiveValue(SENSITIVITY, SPECIFICITY),
    needs_threshold=True,
    applies=has_prevalence,
    settings=("prevalence",),
)
def positive_predictive_value_at_prevalence(weighted: Weighted, prevalence: float) -> Array:
    """Positive predictive value where the positive class has the stated share; two classes only."""
    correct, wrong = sensitivity(weighted) * prevalence, (1 - specificity(weighted)) * (1 - prevalence)
    return divide(correct, correct + wrong)


@METRICS.register(
    "negative_predictive_value_at_prevalence",
    title="Negative predictive value at the stated prevalence",
    interval=PredictiveValue(SPECIFICITY, SENSITIVITY),
    needs_threshold=True,
    applies=has_prevalence,
    settings=("prevalence",),
)
def negative_predictive_value_at_prevalence(weighted: Weighted, prevalence: float) -> Array:
    """Negative predictive value where the positive class has the stated share; two classes only."""
    correct, wrong = specificity(weighted) * (1 - prevalence), (1 - sensitivity(weighted)) * prevalence
    return divide(correct, correct + wrong)
