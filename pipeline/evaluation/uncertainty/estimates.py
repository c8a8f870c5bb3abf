"""A metric's value with its interval, or the reason why there is none."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TypedDict

import numpy as np
from scipy.stats import norm

from pipeline.evaluation.registry import Metric
from pipeline.evaluation.sample import Array, Sample, Weighted, varies
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.intervals import normal_quantile


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
    """Bootstrap values of the metrics whose interval takes them."""
    functions = {
        name: metric.fn
        for name, metric in metrics.items()
        if metric.interval.needs_resamples and metric.interval.reason_few(sample) is None
    }
    if not functions:
        return {}
    return bootstrap(sample, functions, settings.num_bootstrap, settings.seed)


def estimate(sample: Sample, metric: Metric, resampled: Array | None, settings: Settings) -> Estimate:
    """Value first, then the interval by the metric's method."""
    rows = metric.interval.rows(sample)
    num_patients = sample.count_patients(rows)
    undefined = reason_undefined(sample, metric)
    if undefined:
        return Estimate(None, None, None, num_patients, undefined)
    value = float(metric.fn(sample.weighted())[0])
    if not np.isfinite(value):
        return Estimate(None, None, None, num_patients, reason_not_finite(sample, metric, rows))
    found = metric.interval.compute(sample, value, resampled, settings.confidence)
    if isinstance(found, str):
        return Estimate(value, None, None, num_patients, found)
    return Estimate(value, *found, num_patients)


def reason_undefined(sample: Sample, metric: Metric) -> str | None:
    """Why the metric has no meaning here, whatever number its formula gives."""
    if metric.needs_threshold and sample.is_binary and sample.threshold is None:
        return "no operating point"
    if metric.needs_every_class:
        for name, count in zip(sample.class_names, sample.patients_of_class, strict=True):
            if count == 0:
                return f"no patients of class '{name}' among {sample.num_patients}"
    k = getattr(metric.interval, "k", None)
    if k is not None and sample.patients_of_class[k] == 0:
        return f"no patients of class '{sample.class_names[k]}' among {sample.num_patients}"
    if metric.ranks:
        classes = list(sample.rankings) if k is None else [k]
        if not any(varies(sample.probs[:, k], sample.folds) for k in classes):
            return "every score is the same" + (" within its fold" if sample.num_folds > 1 else "")
    return None


def reason_not_finite(sample: Sample, metric: Metric, rows: Array) -> str:
    if not rows.any():
        return "no rows to take the share of"
    if metric.ranks:
        return "no fold has both a class and the rest"
    if len(np.unique(sample.preds)) < sample.num_classes:
        return "a class is never called"
    return "the classes are separated, or the scores do not vary"


POWER, LEVEL = 0.8, 0.05


def minimum_detectable_difference(error: float) -> float:
    """Difference detected with power 80 % at the 5 % level, from the standard error of a difference."""
    return (normal_quantile(1 - LEVEL) + float(norm.ppf(POWER))) * error


def minimum_detectable_auroc_difference(auroc: Estimate, confidence: float) -> Estimate:
    """Minimum detectable difference between two models' AUROCs on these patients, from the interval of one.

    Errors of two models on the same patients are correlated; with a correlation of a half the standard error of the
    difference is that of one model.
    """
    if auroc.low is None or auroc.high is None:
        return Estimate(None, None, None, auroc.num_patients, f"the AUROC has no interval: {auroc.reason}")
    error = (auroc.high - auroc.low) / (2 * normal_quantile(confidence))
    reason = "between two models on these patients, with power 80 % at errors correlated by 0.5"
    return Estimate(minimum_detectable_difference(error), None, None, auroc.num_patients, reason)


MetricFunction = Callable[[Weighted], Array]

BLOCK_ELEMENTS = 400_000
"""Weights in memory at once: a block that fits the cache is several times faster than all resamples together."""


def bootstrap(
    sample: Sample, functions: Mapping[str, MetricFunction], num_resamples: int, seed: int
) -> dict[str, Array]:
    """Each metric in every resample, shape (num_resamples,)."""
    # Metrics that rank read rows by falling score, in turn now rather than at random.
    sample = sample.select(np.argsort(-sample.probs[:, -1], kind="stable"))
    blocks = [
        {name: function(weighted) for name, function in functions.items()}
        for weighted in resamples(sample, num_resamples, seed)
    ]
    return {name: np.concatenate([block[name] for block in blocks]) for name in functions}


def resamples(sample: Sample, num_resamples: int, seed: int) -> Iterator[Weighted]:
    """The sample under bootstrap weights, a block of resamples at a time; the same seed gives the same blocks."""
    generator = np.random.default_rng(seed)
    block = max(1, BLOCK_ELEMENTS // max(1, len(sample.labels)))
    for start in range(0, num_resamples, block):
        drawn = draw_patients(sample.num_patients, min(block, num_resamples - start), generator)
        yield sample.weighted(drawn[sample.patients].T)


def draw_patients(num_patients: int, num_resamples: int, generator: np.random.Generator) -> Array:
    """(P, num_resamples) weight of each patient, drawn with replacement.

    Resamples are contiguous in memory, so selecting rows copies whole lines.
    """
    num_draws = max(num_patients - 1, 1)
    draws = generator.integers(num_patients, size=(num_resamples, num_draws))
    draws += num_patients * np.arange(num_resamples)[:, None]
    drawn = np.bincount(draws.ravel(), minlength=num_resamples * num_patients)
    return drawn.reshape(num_resamples, -1).T * (num_patients / num_draws)
