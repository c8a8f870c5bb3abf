"""What a sample can show: the smallest difference that these patients would let one find."""

from scipy.stats import norm

from pipeline.evaluation.precision.estimates import Estimate
from pipeline.evaluation.precision.intervals import normal_quantile

POWER, LEVEL = 0.8, 0.05


def smallest_detectable(error: float) -> float:
    """Difference found with a chance of 80 % at the 5 % level, from the standard error of a difference."""
    return (normal_quantile(1 - LEVEL) + float(norm.ppf(POWER))) * error


def smallest_difference(auroc: Estimate, confidence: float) -> Estimate:
    """Smallest difference between two models' AUROCs on these patients, from the interval of one.

    Errors of two models on the same patients hang together; a correlation of a half makes the standard error of the
    difference that of one of them.
    """
    if auroc.low is None or auroc.high is None:
        return Estimate(None, None, None, auroc.num_patients, f"the AUROC has no interval: {auroc.reason}")
    error = (auroc.high - auroc.low) / (2 * normal_quantile(confidence))
    reason = "between two models on these patients, found in 4 of 5 studies, errors correlated by a half"
    return Estimate(smallest_detectable(error), None, None, auroc.num_patients, reason)
