"""Estimates with intervals, and the smallest difference that a sample can detect."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TypedDict

import numpy as np
from scipy.stats import norm

from pipeline.evaluation.registry import Metric
from pipeline.evaluation.sample import Array, Sample, varies
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.auc_variance import clustered_auroc, why_no_spread
from pipeline.evaluation.uncertainty.bootstrap import bootstrap
from pipeline.evaluation.uncertainty.intervals import (
    effective_count,
    logit_interval,
    normal_quantile,
    resampled_interval,
    separated_auroc_interval,
    wilson_interval,
)

FEWEST_PATIENTS = 10
"""Patients a class below which an interval would be a guess."""


class Entry(TypedDict):
    """One metric in metrics.json."""

    value: float | None
    low: float | None
    high: float | None
    num_patients: int
    reason: str | None


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; whatever is None has a reason."""

    value: float | None
    low: float | None
    high: float | None
    num_patients: int
    reason: str | None = None

    def entry(self) -> Entry:
        return Entry(**asdict(self))


def estimate_metrics(sample: Sample, metrics: Mapping[str, Metric], settings: Settings) -> dict[str, Estimate]:
    """Each metric of the sample."""
    resampled = resample_where_needed(sample, metrics, settings)
    return {name: estimate(sample, metric, resampled.get(name), settings) for name, metric in metrics.items()}


def resample_where_needed(sample: Sample, metrics: Mapping[str, Metric], settings: Settings) -> dict[str, Array]:
    """Bootstrap values of the metrics that have no interval of their own kind."""
    if sample.patients_of_class.min() < FEWEST_PATIENTS:
        return {}
    figures = {
        name: metric.figure
        for name, metric in metrics.items()
        if metric.has_spread and not metric.grows_by_chance and metric.hits is None and metric.ranked_class is None
    }
    return bootstrap(sample, figures, settings.num_bootstrap, settings.seed)


def estimate(sample: Sample, metric: Metric, resampled: Array | None, settings: Settings) -> Estimate:
    """Value first, then the interval of the metric's kind."""
    num_patients = patients_concerned(sample, metric)
    undefined = why_undefined(sample, metric)
    if undefined:
        return Estimate(None, None, None, num_patients, undefined)
    value = float(metric.figure(sample.weighted())[0])
    if not np.isfinite(value):
        return Estimate(None, None, None, num_patients, why_not_finite(sample, metric))
    found = interval(sample, metric, value, resampled, settings)
    if isinstance(found, str):
        return Estimate(value, None, None, num_patients, found)
    return Estimate(value, *found, num_patients)


def patients_concerned(sample: Sample, metric: Metric) -> int:
    """Patients that the figure is a share of, or all."""
    rows = metric.among(sample) if metric.among else np.ones(len(sample.labels), dtype=bool)
    return len(np.unique(sample.patients[rows]))


def why_undefined(sample: Sample, metric: Metric) -> str | None:
    """What makes the figure meaningless, whatever number its formula would give."""
    if metric.needs_threshold and sample.is_binary and sample.threshold is None:
        return "no operating point"
    if metric.hits is not None or not metric.has_spread:
        return None
    for name, count in zip(sample.class_names, sample.patients_of_class, strict=True):
        if count == 0:
            return f"no patients of class '{name}' among {sample.num_patients}"
    if metric.is_ranking:
        classes = sample.rankings if metric.ranked_class is None else [metric.ranked_class]
        if not any(varies(sample.probs[:, k], sample.folds) for k in classes):
            return "every score is the same" + (" within its fold" if sample.num_folds > 1 else "")
    return None


def why_not_finite(sample: Sample, metric: Metric) -> str:
    if metric.among is not None and not metric.among(sample).any():
        return "no rows to take the share of"
    if metric.is_ranking:
        return "no fold holds both a class and the rest"
    if len(np.unique(sample.preds)) < sample.num_classes:
        return "a class is never called"
    return "the classes are separated, or the scores do not vary"


def interval(
    sample: Sample, metric: Metric, value: float, resampled: Array | None, settings: Settings
) -> tuple[float, float] | str:
    """(low, high), or why there is none."""
    if not metric.has_spread:
        return "fixed by the labels, so without an interval"
    if metric.grows_by_chance:
        return "chance adds to it more than resampling can show, so without an interval"
    if metric.hits is not None and metric.among is not None:
        return share_interval(sample, metric, value, settings.confidence)
    few = few_patients(sample, metric)
    if few:
        return few
    if metric.ranked_class is not None:
        return auroc_interval(sample, metric.ranked_class, value, settings.confidence)
    assert resampled is not None
    return resampled_interval(value, resampled, metric.bounds, int(sample.patients_of_class.min()), settings.confidence)


def few_patients(sample: Sample, metric: Metric) -> str | None:
    """Says which class has too few patients for an interval."""
    concerned = sample.patients_of_class
    if metric.ranked_class is not None:
        is_class = sample.labels == metric.ranked_class
        concerned = np.array([len(np.unique(sample.patients[rows])) for rows in (is_class, ~is_class)])
        names = (sample.class_names[metric.ranked_class], "the rest")
    else:
        names = sample.class_names
    if concerned.min() >= FEWEST_PATIENTS:
        return None
    return f"{concerned.min()} patients of {names[concerned.argmin()]}, an interval needs {FEWEST_PATIENTS}"


def share_interval(sample: Sample, metric: Metric, value: float, confidence: float) -> tuple[float, float] | str:
    among = metric.among(sample)
    patients = sample.patients[among]
    num_patients = len(np.unique(patients))
    if num_patients < FEWEST_PATIENTS:
        return f"a share of {num_patients} patients, an interval needs {FEWEST_PATIENTS}"
    hits = metric.hits(sample)[among].astype(float)
    return wilson_interval(value, effective_count(hits, patients), confidence)


def auroc_interval(sample: Sample, k: int, value: float, confidence: float) -> tuple[float, float] | str:
    is_positive = sample.labels == k
    if value in (0, 1):
        counts = [len(np.unique(sample.patients[rows])) for rows in (is_positive, ~is_positive)]
        return separated_auroc_interval(value, *counts, confidence)
    _, covariance = clustered_auroc(is_positive, sample.probs[:, [k]], sample.patients, sample.folds)
    variance = float(covariance[0, 0])
    return why_no_spread(variance) or logit_interval(value, variance, confidence)


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
