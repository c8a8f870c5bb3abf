"""Which figures are reported, and which interval suits each."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from pipeline.evaluation.metrics import brier_parts, calibration, decisions, discrimination
from pipeline.evaluation.precision.bootstrap import Figure
from pipeline.evaluation.settings import ORDINAL, Settings
from pipeline.evaluation.tables.sample import Array, Sample, Weighted

Rows = Callable[[Sample], Array]


@dataclass(frozen=True)
class Metric:
    """A figure; a share says what of what, a ranking which class it is about."""

    figure: Figure
    hits: Rows | None = None
    """For shares: (n,) boolean, the rows that count as right …"""
    among: Rows | None = None
    """… among these."""
    is_ranking: bool = False
    """Is it about the order of scores, which must then vary?"""
    ranked_class: int | None = None
    """For the AUROC of one class against the rest."""
    needs_threshold: bool = False
    has_spread: bool = True
    """Does it vary between resamples that keep the labels?"""
    grows_when_resampled: bool = False
    """Is it a sum of absolute gaps, which resampling widens?"""


def catalogue(sample: Sample, settings: Settings) -> dict[str, Metric]:
    """Metrics by name, in the order of reporting."""
    if sample.is_binary:
        rates = binary_rates() | prevalence_metrics(settings.prevalence)
        stated = probability_metrics(settings.calibration_bins) | binary_calibration()
        return ranking_metrics(ranked_class=1) | decision_metrics(rates) | stated
    decided = decision_metrics(mean_rates(is_ordinal=settings.task == ORDINAL))
    stated = probability_metrics(settings.calibration_bins)
    return ranking_metrics(ranked_class=None) | decided | stated | class_metrics(sample)


def ranking_metrics(ranked_class: int | None) -> dict[str, Metric]:
    return {
        "auroc": Metric(discrimination.auroc, is_ranking=True, ranked_class=ranked_class),
        "average_precision": Metric(discrimination.average_precision, is_ranking=True),
    }


def decision_metrics(rates: dict[str, Metric]) -> dict[str, Metric]:
    """Figures of the called classes, with the rates in their place."""
    called = partial(Metric, needs_threshold=True)
    return {
        "accuracy": called(decisions.accuracy, is_right, every_row),
        "majority_floor": Metric(decisions.majority_floor, has_spread=False),
        "balanced_accuracy": called(decisions.balanced_accuracy),
        **rates,
        "f1": called(decisions.f1),
        "mcc": called(decisions.mcc),
        "kappa": called(decisions.kappa),
    }


def probability_metrics(binning: str) -> dict[str, Metric]:
    return {
        "brier_score": Metric(calibration.brier_score),
        "brier_miscalibration": Metric(brier_parts.brier_miscalibration, grows_when_resampled=True),
        "brier_discrimination": Metric(brier_parts.brier_discrimination, grows_when_resampled=True),
        "brier_uncertainty": Metric(brier_parts.brier_uncertainty, has_spread=False),
        "log_loss": Metric(calibration.log_loss),
        "expected_calibration_error": Metric(
            partial(calibration.expected_calibration_error, binning=binning), grows_when_resampled=True
        ),
    }


def binary_rates() -> dict[str, Metric]:
    """About the positive class of two; shares of rows, so with a Wilson interval."""
    share = partial(Metric, needs_threshold=True)
    return {
        "sensitivity": share(decisions.sensitivity, is_right, is_positive),
        "specificity": share(decisions.specificity, is_right, is_negative),
        "positive_predictive_value": share(decisions.positive_predictive_value, is_right, is_called),
        "negative_predictive_value": share(decisions.negative_predictive_value, is_right, is_not_called),
        "accuracy_at_even_odds": Metric(accuracy_at_even_odds, is_right_at_even_odds, every_row),
    }


def binary_calibration() -> dict[str, Metric]:
    return {
        "calibration_slope": Metric(calibration.calibration_slope),
        "calibration_intercept": Metric(calibration.calibration_intercept),
    }


def prevalence_metrics(prevalence: float | None) -> dict[str, Metric]:
    """Predictive values where the positive class has the user's share."""
    if prevalence is None:
        return {}
    return {
        f"{name}_predictive_value_at_prevalence": Metric(
            partial(decisions.value_at_prevalence, prevalence=prevalence, of_call=of_call), needs_threshold=True
        )
        for name, of_call in (("positive", True), ("negative", False))
    }


def mean_rates(*, is_ordinal: bool) -> dict[str, Metric]:
    """Means over more than two classes, which are no shares of rows."""
    metrics = {
        "sensitivity": Metric(decisions.sensitivity),
        "specificity": Metric(decisions.specificity),
        "positive_predictive_value": Metric(decisions.positive_predictive_value),
        "negative_predictive_value": Metric(decisions.negative_predictive_value),
    }
    return metrics | (ordinal_metrics() if is_ordinal else {})


def ordinal_metrics() -> dict[str, Metric]:
    """Figures that hold a call two grades off for worse than one grade off."""
    return {
        "quadratic_kappa": Metric(decisions.quadratic_kappa),
        "mean_grades_off": Metric(decisions.mean_grades_off),
    }


def class_metrics(sample: Sample) -> dict[str, Metric]:
    """One class against the rest, for each of several."""
    metrics = {}
    for k, name in enumerate(sample.class_names):
        metrics[f"auroc_{name}"] = Metric(partial(discrimination.class_auroc, k=k), is_ranking=True, ranked_class=k)
        metrics[f"average_precision_{name}"] = Metric(partial(discrimination.class_average_precision, k=k))
        metrics[f"sensitivity_{name}"] = Metric(partial(class_sensitivity, k=k), is_right, partial(is_class, k=k))
    return metrics


def class_sensitivity(weighted: Weighted, k: int) -> Array:
    return decisions.recalls(weighted)[:, k]


def accuracy_at_even_odds(weighted: Weighted) -> Array:
    """Accuracy of the more probable class: comparable with figures published without a chosen threshold."""
    return weighted.mean(is_right_at_even_odds(weighted.sample).astype(float))


def is_right_at_even_odds(sample: Sample) -> Array:
    return (sample.probs[:, 1] > 0.5) == (sample.labels == 1)


def is_right(sample: Sample) -> Array:
    return sample.preds == sample.labels


def every_row(sample: Sample) -> Array:
    return np.ones(len(sample.labels), dtype=bool)


def is_class(sample: Sample, k: int) -> Array:
    return sample.labels == k


def is_positive(sample: Sample) -> Array:
    return sample.labels == 1


def is_negative(sample: Sample) -> Array:
    return sample.labels == 0


def is_called(sample: Sample) -> Array:
    return sample.preds == 1


def is_not_called(sample: Sample) -> Array:
    return sample.preds == 0
