"""Paired comparison of experiments on the same patients."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import t as student

from pipeline.core.columns import NESTED, VAL
from pipeline.evaluation.metrics.decisions import is_correct
from pipeline.evaluation.metrics.discrimination import auroc
from pipeline.evaluation.pairing import Candidate, align_candidates, held_out_of_nested
from pipeline.evaluation.sample import Array, Sample
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.auc_variance import clustered_auroc, clustered_mcnemar, reason_no_variance
from pipeline.evaluation.uncertainty.estimates import minimum_detectable_difference, resamples


@dataclass(frozen=True)
class Difference:
    """Difference of two AUROCs, each the mean over seeds; a missing value has a reason."""

    value: float
    error: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    reason: str | None = None


def obuchowski_difference(first: list[Sample], second: list[Sample], settings: Settings) -> Difference:
    """From the covariance of all scores over patients, and the variance over seeds."""
    reference, samples = first[0], [*first, *second]
    scores = np.stack([sample.probs[:, 1] for sample in samples], axis=1)
    aurocs, covariance = clustered_auroc(reference.labels == 1, scores, reference.patients, reference.folds)
    contrast = contrast_of(first, second)
    return student_difference(aurocs, contrast, float(contrast @ covariance @ contrast), settings.confidence)


def bootstrap_difference(first: list[Sample], second: list[Sample], settings: Settings) -> Difference:
    """The same by bootstrap of patients, with all models in each resample."""
    blocks = [
        [auroc(sample.weighted(weighted.weights)) for sample in (*first, *second)]
        for weighted in resamples(first[0], settings.num_bootstrap, settings.seed)
    ]
    aurocs = np.array([auroc(sample.weighted())[0] for sample in (*first, *second)])
    contrast = contrast_of(first, second)
    of_patients = float((contrast @ np.concatenate(blocks, axis=1)).var(ddof=1))
    return student_difference(aurocs, contrast, of_patients, settings.confidence)


def contrast_of(first: list[Sample], second: list[Sample]) -> Array:
    """Weights of the samples' AUROCs in the difference of the two means."""
    return np.repeat([1 / len(first), -1 / len(second)], [len(first), len(second)])


def student_difference(aurocs: Array, contrast: Array, of_patients: float, confidence: float) -> Difference:
    """Normal without seeds; with seeds Student's t, with few degrees of freedom for few seeds."""
    value = float(contrast @ aurocs)
    groups = [part for part in (aurocs[contrast > 0], aurocs[contrast < 0]) if len(part) > 1]
    of_seeds = [float(part.var(ddof=1)) / len(part) for part in groups]
    variance = of_patients + sum(of_seeds)
    reason = reason_untestable(variance, aurocs)
    if reason:
        return Difference(value, reason=reason)
    uncertain = sum(part**2 / (len(group) - 1) for part, group in zip(of_seeds, groups, strict=True))
    freedom = variance**2 / uncertain if uncertain else np.inf
    error = float(np.sqrt(variance))
    reach = float(student.ppf((1 + confidence) / 2, freedom)) * error
    p_value = float(2 * student.sf(abs(value) / error, freedom))
    return Difference(value, error, value - reach, value + reach, p_value)


def reason_untestable(variance: float, aurocs: Array) -> str | None:
    """Why a difference with this variance cannot be tested, None where it can."""
    reason = reason_no_variance(variance)
    if reason is None or not np.isfinite(variance):
        return reason
    if np.isin(aurocs, (0, 1)).all():
        return "the classes are separated by both, so there is no spread"
    return "they rank these patients identically" if np.ptp(aurocs) == 0 else "neither shows any spread"


SEEDS_FOR_METHODS, FOLDS_FOR_METHODS = 3, 2
CHOSEN_ON_VALIDATION = (
    "Validation patients also chose the epoch of each model, so both AUROCs are optimistic, the more the more epochs "
    "were compared; nested folds remove that, or the locked test patients decide."
)
CHOSEN_INSIDE = "Each patient is judged by trainings that held it out, and whose epochs other patients chose."


@dataclass(frozen=True)
class Comparison:
    """`first` against `second`; differences are first minus second. A missing value has a reason."""

    first: str
    second: str
    is_primary: bool
    difference: float
    """Of the AUROCs."""
    low: float | None
    high: float | None
    p_value: float | None
    adjusted_p_value: float | None
    """The primary comparison's own; Holm's over the others."""
    accuracy_difference: float | None
    accuracy_p_value: float | None
    """McNemar's test at the thresholds frozen on validation; None where one has no threshold."""
    minimum_detectable_difference: float | None
    """Difference of AUROCs detectable with power 80 % on these patients."""
    num_patients: int
    num_seeds: int
    """Of the experiment with fewer …"""
    num_folds: int
    """… likewise; the training sets of one fold are the same for all seeds."""
    split: str
    """Whose patients are compared."""
    reason: str | None = None
    """Why the difference cannot be tested."""

    @property
    def subject(self) -> str:
        """What the comparison is about."""
        varies = self.num_seeds >= SEEDS_FOR_METHODS and self.num_folds >= FOLDS_FOR_METHODS
        return "these methods" if varies else "these fitted models"

    def describe(self, level: float = 0.05) -> str:
        """What was found, and how the epochs of the models may have biased it."""
        caveat = {VAL: f" {CHOSEN_ON_VALIDATION}", NESTED: f" {CHOSEN_INSIDE}"}.get(self.split, "")
        return f"{self.finding(level)}{caveat}"

    def finding(self, level: float) -> str:
        if self.reason:
            return f"No difference between {self.subject} can be tested ({self.difference:+.3f}): {self.reason}."
        size = f"{abs(self.difference):.3f} ({self.low:+.3f} to {self.high:+.3f})"
        if self.adjusted_p_value < level:
            better, worse = (self.first, self.second) if self.difference > 0 else (self.second, self.first)
            return f"Of {self.subject} {better} ranks patients better than {worse}, by {size}."
        return (
            f"No evidence of a difference between {self.subject} ({self.difference:+.3f}, "
            f"{self.low:+.3f} to {self.high:+.3f}); "
            f"with these patients one under {self.minimum_detectable_difference:.3f} would often be missed."
        )


def compare_experiments(tables: Mapping[str, pd.DataFrame], settings: Settings, split: str = VAL) -> list[Comparison]:
    """All pairs of experiments, per patient; the first two named are the primary comparison.

    Nested folds are compared on their outer test parts, where other patients chose the epochs. ValueError where the
    experiments did not predict the same patients, or a class has too few of them.
    """
    nested = {name: held_out_of_nested(table, name) for name, table in tables.items()} if split == VAL else {}
    if nested and all(table is not None for table in nested.values()):
        # Thresholds would be fitted on the patients that are judged.
        apart = {"split": NESTED, "accuracy_difference": None, "accuracy_p_value": None}
        return [
            replace(pair, **apart) for pair in adjusted_pairs(align_candidates(nested, settings, VAL), settings, VAL)
        ]
    return adjusted_pairs(align_candidates(tables, settings, split), settings, split)


def adjusted_pairs(candidates: list[Candidate], settings: Settings, split: str) -> list[Comparison]:
    """All pairs; the p-values of those after the first are adjusted for their number."""
    pairs = [compare_pair(first, second, settings, split) for first, second in combinations(candidates, 2)]
    if not pairs:
        return []
    others = [pair for pair in pairs[1:] if pair.p_value is not None]
    found = iter(holm(np.array([pair.p_value for pair in others])))
    adjusted = [
        pair if pair.p_value is None else replace(pair, adjusted_p_value=float(next(found))) for pair in pairs[1:]
    ]
    return [replace(pairs[0], is_primary=True), *adjusted]


def compare_pair(first: Candidate, second: Candidate, settings: Settings, split: str) -> Comparison:
    """Obuchowski's covariance for two classes, the paired clustered bootstrap for more; seeds widen either."""
    difference = obuchowski_difference if first.pooled.is_binary else bootstrap_difference
    found = difference(first.seeds, second.seeds, settings)
    accuracy_difference, accuracy_p_value = compare_accuracies(first, second)
    return Comparison(
        first=first.name,
        second=second.name,
        is_primary=False,
        difference=found.value,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        adjusted_p_value=found.p_value,
        accuracy_difference=accuracy_difference,
        accuracy_p_value=accuracy_p_value,
        minimum_detectable_difference=None if found.error is None else minimum_detectable_difference(found.error),
        num_patients=first.pooled.num_patients,
        num_seeds=min(len(first.seeds), len(second.seeds)),
        num_folds=min(first.num_folds, second.num_folds),
        split=split,
        reason=found.reason,
    )


def compare_accuracies(first: Candidate, second: Candidate) -> tuple[float, float] | tuple[None, None]:
    """Difference of the accuracies at the frozen thresholds with McNemar's p-value; None without both thresholds."""
    if first.pooled.is_binary and None in (first.pooled.threshold, second.pooled.threshold):
        return None, None
    right = [is_correct(candidate.pooled) for candidate in (first, second)]
    return float(right[0].mean() - right[1].mean()), clustered_mcnemar(*right, first.pooled.patients)


def holm(p_values: Array) -> Array:
    """p-values adjusted for multiple tests (Holm, Scandinavian Journal of Statistics 1979;6:65-70)."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    return adjusted
