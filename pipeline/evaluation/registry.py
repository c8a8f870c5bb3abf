"""Which figures are reported, and which interval suits each."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from pipeline.evaluation.metrics import brier_parts, calibration, decisions, discrimination
from pipeline.evaluation.sample import Array, Sample, Weighted
from pipeline.evaluation.settings import ORDINAL, Settings
from pipeline.evaluation.uncertainty.bootstrap import Figure

Rows = Callable[[Sample], Array]
UNBOUNDED = (-np.inf, np.inf)


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
    grows_by_chance: bool = False
    """Is it a sum of gaps, to which chance adds more than resampling can show?"""
    bounds: tuple[float, float] = (0.0, 1.0)
    """Lowest and highest value that the figure can have."""


def catalogue(sample: Sample, settings: Settings) -> dict[str, Metric]:
    """Metrics by name, in the order of reporting."""
    if sample.is_binary:
        rates = binary_rates() | prevalence_metrics(settings.prevalence)
        stated = probability_metrics(settings.calibration_bins, largest_brier_score=1) | binary_calibration()
        return ranking_metrics(ranked_class=1) | decision_metrics(rates) | stated
    grades = ordinal_metrics(sample.num_classes) if settings.task == ORDINAL else {}
    decided = decision_metrics(mean_rates() | grades)
    stated = probability_metrics(settings.calibration_bins, largest_brier_score=2)
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
        "mcc": called(decisions.mcc, bounds=(-1, 1)),
        "kappa": called(decisions.kappa, bounds=(-1, 1)),
    }


def probability_metrics(binning: str, largest_brier_score: float) -> dict[str, Metric]:
    return {
        "brier_score": Metric(calibration.brier_score, bounds=(0, largest_brier_score)),
        "brier_miscalibration": Metric(brier_parts.brier_miscalibration, grows_by_chance=True),
        "brier_discrimination": Metric(brier_parts.brier_discrimination, grows_by_chance=True),
        "brier_uncertainty": Metric(brier_parts.brier_uncertainty, has_spread=False),
        "log_loss": Metric(calibration.log_loss, bounds=(0, np.inf)),
        "expected_calibration_error": Metric(
            partial(calibration.expected_calibration_error, binning=binning), grows_by_chance=True
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
        "calibration_slope": Metric(calibration.calibration_slope, bounds=UNBOUNDED),
        "calibration_intercept": Metric(calibration.calibration_intercept, bounds=UNBOUNDED),
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


def mean_rates() -> dict[str, Metric]:
    """Means over more than two classes, which are no shares of rows."""
    return {
        "sensitivity": Metric(decisions.sensitivity),
        "specificity": Metric(decisions.specificity),
        "positive_predictive_value": Metric(decisions.positive_predictive_value),
        "negative_predictive_value": Metric(decisions.negative_predictive_value),
    }


def ordinal_metrics(num_classes: int) -> dict[str, Metric]:
    """Figures that hold a call two grades off for worse than one grade off."""
    return {
        "quadratic_kappa": Metric(decisions.quadratic_kappa, bounds=(-1, 1)),
        "mean_grades_off": Metric(decisions.mean_grades_off, bounds=(0, num_classes - 1)),
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
