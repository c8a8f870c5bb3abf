"""The mean of a metric over several samples of the same patients: labels of a scan, or repeats of a cross-validation.

A patient counts once, in however many samples: a resample draws patients, each with all rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.evaluation.registry import Metric
from pipeline.evaluation.sample import Array, Sample
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.estimates import Entry, Estimate, resamples
from pipeline.evaluation.uncertainty.intervals import bootstrap_interval
from pipeline.evaluation.uncertainty.methods import FEWEST_PATIENTS


@dataclass(frozen=True, eq=False)
class RepeatedSamples:
    """Several samples, and the rows of all of them together, from which patients are drawn."""

    union: Sample
    samples: Sequence[Sample]
    rows: Sequence[Array]
    """Of each sample: (n,) index into the rows of `union`."""

    def resample(self, metrics: Mapping[str, Metric], settings: Settings) -> dict[str, Array]:
        """(R,) mean of each metric in every resample."""
        blocks = [
            {name: self.mean(metric, weighted.weights) for name, metric in metrics.items()}
            for weighted in resamples(self.union, settings.num_bootstrap, settings.seed)
        ]
        return {name: np.concatenate([block[name] for block in blocks]) for name in metrics}

    def mean(self, metric: Metric, weights: Array) -> Array:
        """(R,) mean of the metric over the samples, `weights` being those of the union's rows, (R, N)."""
        pairs = zip(self.samples, self.rows, strict=True)
        return np.mean([metric.fn(sample.weighted(weights[:, rows])) for sample, rows in pairs], axis=0)

    @property
    def fewest_patients(self) -> int:
        """Of any class in any sample."""
        return int(min(sample.patients_of_class.min() for sample in self.samples))


def estimate_means(
    entries: Mapping[str, Mapping[str, Entry]],
    repeated: RepeatedSamples,
    metrics: Mapping[str, Metric],
    settings: Settings,
) -> dict[str, Estimate]:
    """The mean of each metric over the named samples; `entries` are the metrics of each sample."""
    means = {metric: mean_value({name: found[metric] for name, found in entries.items()}) for metric in metrics}
    ranged = {metric: metrics[metric] for metric, mean in means.items() if mean.reason is None}
    found = {
        metric: with_range(means[metric], values, metrics[metric], repeated, settings)
        for metric, values in repeated.resample(ranged, settings).items()
    }
    return means | found


def mean_value(entries: Mapping[str, Entry]) -> Estimate:
    """Without a value or an interval where any sample has none, with its name and reason."""
    num_patients = max(entry["num_patients"] for entry in entries.values())
    undefined = first_missing_reason(entries, "value")
    if undefined:
        return Estimate(None, None, None, num_patients, undefined)
    mean = float(np.mean([entry["value"] for entry in entries.values()]))
    return Estimate(mean, None, None, num_patients, first_missing_reason(entries, "low"))


def first_missing_reason(entries: Mapping[str, Entry], field: str) -> str | None:
    """The first reason, None where all have it."""
    reasons = (f"{name}: {entry['reason']}" for name, entry in entries.items() if entry[field] is None)
    return next(reasons, None)


def with_range(
    mean: Estimate, values: Array, metric: Metric, repeated: RepeatedSamples, settings: Settings
) -> Estimate:
    assert mean.value is not None
    if repeated.fewest_patients < FEWEST_PATIENTS:
        return replace(
            mean, reason=f"{repeated.fewest_patients} patients of a class, an interval needs {FEWEST_PATIENTS}"
        )
    found = bootstrap_interval(
        mean.value,
        values,
        metric.interval.bounds_of(repeated.samples[0]),
        repeated.fewest_patients,
        settings.confidence,
    )
    if isinstance(found, str):
        return replace(mean, reason=found)
    return replace(mean, low=found[0], high=found[1])
