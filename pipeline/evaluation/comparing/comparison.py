"""Do experiments differ on the same patients? Paired, clustered by patient, in words that claim no more than that.

One fitted model an experiment tells about these fitted models, not about their methods: that takes three seeds or more,
whose spread then widens the interval. Comparisons look at validation by default, so that the test set stays unseen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import t as student

from pipeline.artifacts import VAL
from pipeline.evaluation.comparing.pairing import Contender, pair_up
from pipeline.evaluation.metrics.discrimination import auroc
from pipeline.evaluation.precision.bootstrap import resamples
from pipeline.evaluation.precision.catalogue import is_right
from pipeline.evaluation.precision.intervals import percentile_interval
from pipeline.evaluation.precision.mcnemar import clustered_mcnemar
from pipeline.evaluation.precision.obuchowski import clustered_auroc
from pipeline.evaluation.precision.power import smallest_detectable
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.tables.sample import Array, Sample

SEEDS_FOR_METHODS = 3


@dataclass(frozen=True)
class Comparison:
    """`first` against `second`; differences are those of the first less those of the second."""

    first: str
    second: str
    is_primary: bool
    difference: float
    """Of the AUROCs."""
    low: float
    high: float
    p_value: float
    adjusted_p_value: float
    """The primary comparison's own; Holm's over the others."""
    accuracy_difference: float
    accuracy_p_value: float
    """McNemar's test at the thresholds frozen on validation."""
    smallest_detectable: float
    """Difference of AUROCs that would be found with a chance of 80 % with these patients."""
    num_patients: int
    num_seeds: int
    """Of the experiment with fewer."""

    @property
    def subject(self) -> str:
        """What the comparison is about."""
        return "these methods" if self.num_seeds >= SEEDS_FOR_METHODS else "these fitted models"

    def in_words(self, level: float = 0.05) -> str:
        size = f"{abs(self.difference):.3f} ({self.low:+.3f} to {self.high:+.3f})"
        if self.adjusted_p_value < level:
            better, worse = (self.first, self.second) if self.difference > 0 else (self.second, self.first)
            return f"Of {self.subject} {better} ranks patients better than {worse}, by {size}."
        return (
            f"No evidence of a difference between {self.subject} ({self.difference:+.3f}, "
            f"{self.low:+.3f} to {self.high:+.3f}); "
            f"with these patients one under {self.smallest_detectable:.3f} would often be missed."
        )


def compare_experiments(tables: Mapping[str, pd.DataFrame], settings: Settings, split: str = VAL) -> list[Comparison]:
    """All pairs of experiments, per patient; the first two named are the primary comparison.

    ValueError where they did not predict the same patients, or a class has too few of them.
    """
    contenders = pair_up(tables, settings, split)
    pairs = [compare_pair(first, second, settings) for first, second in combinations(contenders, 2)]
    if not pairs:
        return []
    others = holm(np.array([pair.p_value for pair in pairs[1:]]))
    primary = replace(pairs[0], is_primary=True)
    return [primary, *(replace(pair, adjusted_p_value=float(p)) for pair, p in zip(pairs[1:], others, strict=True))]


def compare_pair(first: Contender, second: Contender, settings: Settings) -> Comparison:
    """Obuchowski's covariance for two classes, the paired clustered bootstrap for more; seeds widen either."""
    measure = normal_difference if first.pooled.is_binary else resampled_difference
    found = measure(first.seeds, second.seeds, settings)
    right = [is_right(contender.pooled) for contender in (first, second)]
    return Comparison(
        first=first.name,
        second=second.name,
        is_primary=False,
        difference=found.value,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        adjusted_p_value=found.p_value,
        accuracy_difference=float(right[0].mean() - right[1].mean()),
        accuracy_p_value=clustered_mcnemar(*right, first.pooled.patients),
        smallest_detectable=smallest_detectable(found.error),
        num_patients=first.pooled.num_patients,
        num_seeds=min(len(first.seeds), len(second.seeds)),
    )


@dataclass(frozen=True)
class Difference:
    """Of two AUROCs, each the mean over seeds."""

    value: float
    error: float
    low: float
    high: float
    p_value: float


def normal_difference(first: list[Sample], second: list[Sample], settings: Settings) -> Difference:
    """From the covariance of all scores over patients, and the variance over seeds."""
    reference, samples = first[0], [*first, *second]
    scores = np.stack([sample.probs[:, 1] for sample in samples], axis=1)
    aurocs, covariance = clustered_auroc(reference.labels == 1, scores, reference.patients, reference.folds)
    contrast = np.repeat([1 / len(first), -1 / len(second)], [len(first), len(second)])
    of_patients = max(0.0, float(contrast @ covariance @ contrast))
    return student_difference(float(aurocs @ contrast), of_patients, aurocs, len(first), settings.confidence)


def resampled_difference(first: list[Sample], second: list[Sample], settings: Settings) -> Difference:
    """The same by resampling patients, each resample judging all models."""
    blocks = [
        [auroc(sample.weighted(weighted.weights)) for sample in (*first, *second)]
        for weighted in resamples(first[0], settings.num_bootstrap, settings.seed)
    ]
    resampled = np.concatenate(blocks, axis=1)
    aurocs = np.array([auroc(sample.weighted())[0] for sample in (*first, *second)])
    contrast = np.repeat([1 / len(first), -1 / len(second)], [len(first), len(second)])
    differences = contrast @ resampled
    found = student_difference(
        float(contrast @ aurocs), float(differences.var(ddof=1)), aurocs, len(first), settings.confidence
    )
    if len(first) > 1 or len(second) > 1:
        return found
    bounds = percentile_interval(differences, settings.confidence)
    return found if isinstance(bounds, str) else replace(found, low=bounds[0], high=bounds[1])


def student_difference(
    value: float, of_patients: float, aurocs: Array, num_first: int, confidence: float
) -> Difference:
    """Normal without seeds; with them Student's, whose degrees of freedom say how well few seeds show their spread."""
    groups = [part for part in (aurocs[:num_first], aurocs[num_first:]) if len(part) > 1]
    of_seeds = [float(part.var(ddof=1)) / len(part) for part in groups]
    variance = of_patients + sum(of_seeds)
    uncertain = sum(part**2 / (len(group) - 1) for part, group in zip(of_seeds, groups, strict=True))
    freedom = variance**2 / uncertain if uncertain else np.inf
    error = float(np.sqrt(variance))
    reach = float(student.ppf((1 + confidence) / 2, freedom)) * error
    return Difference(value, error, value - reach, value + reach, two_sided(value, error, freedom))


def two_sided(difference: float, error: float, freedom: float = np.inf) -> float:
    """p-value of no difference; 1 for models that agree on everything."""
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * student.sf(abs(difference) / error, freedom))


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values adjusted for their number (Holm, Scandinavian Journal of Statistics 1979;6:65-70)."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    return adjusted
