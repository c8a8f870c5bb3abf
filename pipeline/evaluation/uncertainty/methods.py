"""How each metric gets its interval: one class per method, named in the metric's registration.

A method answers `compute(sample, value, resampled, confidence)` with (low, high), or with the reason why there is no
interval. Only methods with `needs_resamples` get the metric's bootstrap values, shape (R,).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.sample import Array, Sample
from pipeline.evaluation.uncertainty.auc_variance import clustered_auroc, reason_no_variance
from pipeline.evaluation.uncertainty.intervals import (
    bootstrap_interval,
    effective_count,
    logit_interval,
    separated_auroc_interval,
    wilson_interval,
)

FEWEST_PATIENTS = 10
"""Patients per class below which an interval would be a guess."""
UNBOUNDED = (-np.inf, np.inf)
Rows = Callable[[Sample], Array]
"""Sample -> (n,) boolean."""
Bounds = tuple[float, float]
Range = tuple[float, float]


def every_row(sample: Sample) -> Array:
    return np.ones(len(sample.labels), dtype=bool)


@dataclass(frozen=True)
class Interval:
    """Base of all methods."""

    @property
    def needs_resamples(self) -> bool:
        return False

    def rows(self, sample: Sample) -> Array:
        """(n,) boolean, the rows that the metric is about."""
        return every_row(sample)

    def bounds_of(self, sample: Sample) -> Bounds:
        """Lowest and highest value that the metric can have."""
        return (0.0, 1.0)

    def compute(self, sample: Sample, value: float, resampled: Array | None, confidence: float) -> Range | str:
        raise NotImplementedError


@dataclass(frozen=True)
class NoInterval(Interval):
    """None, for a stated reason."""

    reason: str

    def compute(self, sample: Sample, value: float, resampled: Array | None, confidence: float) -> str:
        return self.reason


@dataclass(frozen=True)
class Bootstrap(Interval):
    """Student's t from resamples of patients, on a scale without bounds."""

    bounds: Bounds | Callable[[Sample], Bounds] = (0.0, 1.0)
    """Lowest and highest value that the metric can have."""

    @property
    def needs_resamples(self) -> bool:
        return True

    def compute(self, sample: Sample, value: float, resampled: Array | None, confidence: float) -> Range | str:
        few = reason_few_patients(sample.patients_of_class, sample.class_names)
        if few:
            return few
        assert resampled is not None
        return bootstrap_interval(
            value, resampled, self.bounds_of(sample), int(sample.patients_of_class.min()), confidence
        )

    def bounds_of(self, sample: Sample) -> Bounds:
        return self.bounds(sample) if callable(self.bounds) else self.bounds


@dataclass(frozen=True)
class Wilson(Interval):
    """Of a share of rows, with the design effect of several scans per patient."""

    hits: Rows
    """The rows that count as correct …"""
    among: Rows = every_row
    """… among these."""

    def rows(self, sample: Sample) -> Array:
        return self.among(sample)

    def compute(self, sample: Sample, value: float, resampled: Array | None, confidence: float) -> Range | str:
        among = self.among(sample)
        patients = sample.patients[among]
        num_patients = len(np.unique(patients))
        if num_patients < FEWEST_PATIENTS:
            return f"a share of {num_patients} patients, an interval needs {FEWEST_PATIENTS}"
        hits = self.hits(sample)[among].astype(float)
        return wilson_interval(value, effective_count(hits, patients), confidence)


@dataclass(frozen=True)
class Obuchowski(Interval):
    """Of the AUROC of one class against the rest: clustered variance, normal on the logit scale."""

    k: int = 1
    """Index of the class."""

    def compute(self, sample: Sample, value: float, resampled: Array | None, confidence: float) -> Range | str:
        is_positive = sample.labels == self.k
        counts = np.array([len(np.unique(sample.patients[rows])) for rows in (is_positive, ~is_positive)])
        few = reason_few_patients(counts, (sample.class_names[self.k], "the rest"))
        if few:
            return few
        if value in (0, 1):
            return separated_auroc_interval(value, *counts.tolist(), confidence)
        _, covariance = clustered_auroc(is_positive, sample.probs[:, [self.k]], sample.patients, sample.folds)
        variance = float(covariance[0, 0])
        return reason_no_variance(variance) or logit_interval(value, variance, confidence)


def reason_few_patients(counts: Array, names: tuple[str, ...]) -> str | None:
    """The class that has too few patients for an interval, None where all have enough."""
    if counts.min() >= FEWEST_PATIENTS:
        return None
    return f"{counts.min()} patients of {names[counts.argmin()]}, an interval needs {FEWEST_PATIENTS}"
