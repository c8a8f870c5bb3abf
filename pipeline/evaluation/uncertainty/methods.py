"""How each metric gets its interval: one class per method, named in the metric's registration.

A method answers `compute(sample, value, resampled, confidence)` with (low, high), or with the reason why there is no
interval. Only methods with `needs_resamples` get the metric's bootstrap values, shape (R,). All of them hold where the
number of patients of each class is random, as it is in a cohort; `benchmarks/coverage.py` measures their coverage.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.sample import Array, Sample
from pipeline.evaluation.uncertainty.auc_variance import clustered_auroc, reason_no_variance
from pipeline.evaluation.uncertainty.intervals import (
    bootstrap_interval,
    logit_interval,
    separated_auroc_interval,
    skewed_mean_interval,
    student_quantile,
)
from pipeline.evaluation.uncertainty.shares import (
    ShareEstimate,
    combine_shares,
    estimate_share,
    odds_ratio_interval,
    ratio_interval,
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

    def reason_few(self, sample: Sample) -> str | None:
        """The class that has too few patients for an interval, None where all that matter have enough."""
        return reason_few_patients(sample.patients_of_class, sample.class_names)

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
    k: int | None = None
    """Index of the class that the metric ranks against the rest; None where it needs every class."""

    @property
    def needs_resamples(self) -> bool:
        return True

    def bounds_of(self, sample: Sample) -> Bounds:
        return self.bounds(sample) if callable(self.bounds) else self.bounds

    def reason_few(self, sample: Sample) -> str | None:
        return reason_few_patients(*self.counts(sample))

    def counts(self, sample: Sample) -> tuple[Array, tuple[str, ...]]:
        if self.k is None:
            return sample.patients_of_class, sample.class_names
        return against_rest(sample, self.k)

    def compute(self, sample: Sample, value: float, resampled: Array | None, confidence: float) -> Range | str:
        few = self.reason_few(sample)
        if few:
            return few
        assert resampled is not None
        rarest = int(self.counts(sample)[0].min())
        return bootstrap_interval(value, resampled, self.bounds_of(sample), rarest, confidence)


@dataclass(frozen=True)
class AgreementBootstrap(Bootstrap):
    """Of an agreement, which rests on the patients who are not predicted as most are."""

    bounds: Bounds | Callable[[Sample], Bounds] = (-1.0, 1.0)

    def compute(self, sample: Sample, value: float, resampled: Array | None, confidence: float) -> Range | str:
        commonest = int(np.bincount(sample.preds).argmax())
        count = sample.count_patients(sample.preds != commonest)
        if count < FEWEST_PATIENTS:
            name = sample.class_names[commonest]
            return f"{count} patients predicted other than {name}, an interval needs {FEWEST_PATIENTS}"
        return super().compute(sample, value, resampled, confidence)


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
        share = self.estimate(sample, confidence)
        if share.num_patients < FEWEST_PATIENTS:
            return f"a share of {share.num_patients} patients, an interval needs {FEWEST_PATIENTS}"
        return share.low, share.high

    def estimate(self, sample: Sample, confidence: float) -> ShareEstimate:
        return estimate_share(self.hits(sample), self.among(sample), sample.patients, confidence)


@dataclass(frozen=True)
class WilsonF1(Interval):
    """Of F1 = 2J / (1 + J), where J is the share of correct rows among those of the class or predicted as such."""

    def compute(self, sample: Sample, value: float, resampled: Array | None, confidence: float) -> Range | str:
        is_class, is_predicted = sample.labels == 1, sample.preds == 1
        jaccard = estimate_share(is_class & is_predicted, is_class | is_predicted, sample.patients, confidence)
        if jaccard.num_patients < FEWEST_PATIENTS:
            return f"a share of {jaccard.num_patients} patients, an interval needs {FEWEST_PATIENTS}"
        low, high = (2 * bound / (1 + bound) for bound in (jaccard.low, jaccard.high))
        return low, high


@dataclass(frozen=True)
class CombinedShares(Interval):
    """Of a weighted sum of shares, from the intervals of each and their correlation over patients."""

    shares: Callable[[Sample], Sequence[Wilson]]
    weights: Callable[[Sample], Array]

    def compute(self, sample: Sample, value: float, resampled: Array | None, confidence: float) -> Range | str:
        few = self.reason_few(sample)
        if few:
            return few
        return combine_shares(
            [share.estimate(sample, confidence) for share in self.shares(sample)], self.weights(sample)
        )


@dataclass(frozen=True)
class PredictiveValue(Interval):
    """Of a predictive value at a stated prevalence, from the intervals of sensitivity and specificity."""

    correct: Wilson
    """Share that is right among those with the predicted class: sensitivity for the positive one …"""
    wrong: Wilson
    """… and the share that is right among the others: specificity."""

    def compute(self, sample: Sample, value: float, resampled: Array | None, confidence: float) -> Range | str:
        few = self.reason_few(sample)
        if few:
            return few
        return odds_ratio_interval(
            value, self.correct.estimate(sample, confidence), self.wrong.estimate(sample, confidence)
        )


@dataclass(frozen=True)
class LikelihoodRatio(Interval):
    """Of correct / (1 - wrong), or of its inverse, from the intervals of both shares on the logarithmic scale."""

    correct: Wilson
    wrong: Wilson
    is_inverse: bool = False

    def bounds_of(self, sample: Sample) -> Bounds:
        return (0.0, np.inf)

    def compute(self, sample: Sample, value: float, resampled: Array | None, confidence: float) -> Range | str:
        few = self.reason_few(sample)
        if few:
            return few
        correct, wrong = (share.estimate(sample, confidence) for share in (self.correct, self.wrong))
        return ratio_interval(correct, wrong, is_inverse=self.is_inverse)


@dataclass(frozen=True)
class MeanOfRows(Interval):
    """Of the mean of one value per row, from the sums of each patient, with their skewness removed.

    A smooth function of means has such values too: itself plus what each row adds to it to first order.
    """

    values: Callable[[Sample], Array]
    """Sample -> (n,) numbers."""
    bounds: Bounds | Callable[[Sample], Bounds] = (0.0, 1.0)

    def bounds_of(self, sample: Sample) -> Bounds:
        return self.bounds(sample) if callable(self.bounds) else self.bounds

    def compute(self, sample: Sample, value: float, resampled: Array | None, confidence: float) -> Range | str:
        few = self.reason_few(sample)
        if few:
            return few
        excess = np.bincount(sample.patients, weights=self.values(sample) - value) / len(sample.labels)
        found = skewed_mean_interval(value, excess, confidence)
        if isinstance(found, str):
            return found
        low, high = self.bounds_of(sample)
        return max(low, found[0]), min(high, found[1])


@dataclass(frozen=True)
class PatientInfluence(Interval):
    """Student's t from the influence of each patient on the estimate."""

    influence: Callable[[Sample], Array]
    """Sample -> (P,) change of the estimate that is due to each patient, corrected for leverage."""

    def bounds_of(self, sample: Sample) -> Bounds:
        return UNBOUNDED

    def compute(self, sample: Sample, value: float, resampled: Array | None, confidence: float) -> Range | str:
        few = self.reason_few(sample)
        if few:
            return few
        reach = student_quantile(confidence, sample.num_patients - 1) * float(
            np.sqrt((self.influence(sample) ** 2).sum())
        )
        return value - reach, value + reach


@dataclass(frozen=True)
class AgainstRest(Interval):
    """The interval of a metric of two classes, of class k against the rest."""

    interval: Interval
    k: int

    def bounds_of(self, sample: Sample) -> Bounds:
        return self.interval.bounds_of(sample.against_rest(self.k))

    def reason_few(self, sample: Sample) -> str | None:
        return reason_few_patients(*against_rest(sample, self.k))

    def compute(self, sample: Sample, value: float, resampled: Array | None, confidence: float) -> Range | str:
        return self.interval.compute(sample.against_rest(self.k), value, resampled, confidence)


@dataclass(frozen=True)
class Obuchowski(Interval):
    """Of the AUROC of one class against the rest: clustered variance, normal on the logit scale."""

    k: int = 1
    """Index of the class."""

    def compute(self, sample: Sample, value: float, resampled: Array | None, confidence: float) -> Range | str:
        is_positive = sample.labels == self.k
        counts, names = against_rest(sample, self.k)
        few = reason_few_patients(counts, names)
        if few:
            return few
        if value in (0, 1):
            return separated_auroc_interval(value, *counts.tolist(), confidence)
        _, covariance = clustered_auroc(is_positive, sample.probs[:, [self.k]], sample.patients, sample.folds)
        variance = float(covariance[0, 0])
        return reason_no_variance(variance) or logit_interval(value, variance, confidence)


def against_rest(sample: Sample, k: int) -> tuple[Array, tuple[str, str]]:
    """(2,) patients of class k and of the rest, and their names."""
    is_class = sample.labels == k
    counts = np.array([sample.count_patients(rows) for rows in (is_class, ~is_class)])
    return counts, (sample.class_names[k], "the rest")


def reason_few_patients(counts: Array, names: tuple[str, ...]) -> str | None:
    """The class that has too few patients for an interval, None where all have enough."""
    if counts.min() >= FEWEST_PATIENTS:
        return None
    return f"{counts.min()} patients of {names[counts.argmin()]}, an interval needs {FEWEST_PATIENTS}"
