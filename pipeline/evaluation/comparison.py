"""Do experiments differ on the same patients? Paired, clustered by patient, in words that claim no more than that.

One fitted model an experiment tells about these fitted models, not about their methods: that would take several seeds.
Comparisons look at validation by default, so that the test set stays unseen until the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import norm

from pipeline.artifacts import LABEL, PATIENT_ID, SCAN_ID, SPLIT, VAL
from pipeline.evaluation.bootstrap import resamples
from pipeline.evaluation.discrimination import auroc
from pipeline.evaluation.estimates import FEWEST_PATIENTS
from pipeline.evaluation.intervals import normal_quantile, percentile_interval
from pipeline.evaluation.obuchowski import clustered_auroc
from pipeline.evaluation.predictions import (
    average_folds,
    by_patient,
    check_predictions,
    class_names,
    patients_of_two_labels,
)
from pipeline.evaluation.sample import Sample, sample_of
from pipeline.evaluation.settings import Settings

POWER = 0.8
"""Chance of finding a difference of the smallest detectable size."""


@dataclass(frozen=True)
class Comparison:
    """AUROC of `first` minus that of `second`."""

    first: str
    second: str
    is_primary: bool
    difference: float
    low: float
    high: float
    p_value: float
    adjusted_p_value: float
    """The primary comparison's own; Holm's over the others."""
    smallest_detectable: float
    """Difference that would be found with a chance of 80 % with these patients."""
    num_patients: int

    def in_words(self, level: float = 0.05) -> str:
        size = f"{abs(self.difference):.3f} ({self.low:+.3f} to {self.high:+.3f})"
        if self.adjusted_p_value < level:
            better, worse = (self.first, self.second) if self.difference > 0 else (self.second, self.first)
            return f"Of these fitted models {better} ranks patients better than {worse}, by {size}."
        return (
            f"No evidence of a difference between these fitted models ({self.difference:+.3f}, "
            f"{self.low:+.3f} to {self.high:+.3f}); "
            f"with these patients one under {self.smallest_detectable:.3f} would often be missed."
        )


def compare_experiments(tables: Mapping[str, pd.DataFrame], settings: Settings, split: str = VAL) -> list[Comparison]:
    """All pairs of experiments, per patient; the first two named are the primary comparison.

    ValueError where they did not predict the same patients, or a class has too few of them.
    """
    samples = paired_samples(tables, settings.patient_rule, split)
    pairs = [compare_pair(first, second, samples, settings) for first, second in combinations(samples, 2)]
    if not pairs:
        return []
    others = holm(np.array([pair.p_value for pair in pairs[1:]]))
    primary = replace(pairs[0], is_primary=True)
    return [primary, *(replace(pair, adjusted_p_value=float(p)) for pair, p in zip(pairs[1:], others, strict=True))]


def paired_samples(tables: Mapping[str, pd.DataFrame], patient_rule: str, split: str) -> dict[str, Sample]:
    """One sample an experiment, all with the same rows in the same order."""
    rows = {name: unit_rows(table, name, patient_rule, split) for name, table in tables.items()}
    first, reference = next(iter(rows.items()))
    for name, table in rows.items():
        if class_names(table) != class_names(reference):
            raise ValueError(
                f"{name}: expected the classes of {first}, {class_names(reference)}, got "
                f"{class_names(table)}; compare experiments on the same cohort."
            )
        different = set(zip(table[PATIENT_ID], table[LABEL], strict=True)) ^ set(
            zip(reference[PATIENT_ID], reference[LABEL], strict=True)
        )
        if different or len(table) != len(reference):
            raise ValueError(
                f"{name}: {len(different)} {split} patients differ from those of {first}, expected the "
                "same; predict with the same folds."
            )
    samples = {name: sample_of(table) for name, table in rows.items()}
    fewest = next(iter(samples.values())).patients_of_class.min()
    if fewest < FEWEST_PATIENTS:
        raise ValueError(f"{split}: a class has {fewest} patients, a comparison needs {FEWEST_PATIENTS}.")
    return samples


def unit_rows(predictions: pd.DataFrame, name: str, patient_rule: str, split: str) -> pd.DataFrame:
    """A row a patient in a fixed order, or a row a scan where a patient has scans of two labels."""
    scans = average_folds(check_predictions(predictions, where=name))
    scans = scans[scans[SPLIT] == split]
    if patients_of_two_labels(scans):
        return scans.sort_values(SCAN_ID, ignore_index=True)
    return by_patient(scans, patient_rule).sort_values(PATIENT_ID, ignore_index=True)


def compare_pair(first: str, second: str, samples: Mapping[str, Sample], settings: Settings) -> Comparison:
    """Obuchowski's covariance for two classes, the paired clustered bootstrap for more."""
    pair = samples[first], samples[second]
    measure = normal_difference if pair[0].is_binary else resampled_difference
    difference, error, low, high = measure(*pair, settings)
    p_value = two_sided(difference, error)
    detectable = (normal_quantile(0.95) + float(norm.ppf(POWER))) * error
    return Comparison(first, second, False, difference, low, high, p_value, p_value, detectable, pair[0].num_patients)


def normal_difference(first: Sample, second: Sample, settings: Settings) -> tuple[float, float, float, float]:
    """Difference of the AUROCs, its standard error, low and high."""
    scores = np.stack([first.probs[:, 1], second.probs[:, 1]], axis=1)
    aurocs, covariance = clustered_auroc(first.labels == 1, scores, first.patients, first.folds)
    contrast = np.array([1, -1])
    difference, error = float(aurocs @ contrast), float(np.sqrt(max(0.0, contrast @ covariance @ contrast)))
    reach = normal_quantile(settings.confidence) * error
    return difference, error, difference - reach, difference + reach


def resampled_difference(first: Sample, second: Sample, settings: Settings) -> tuple[float, float, float, float]:
    """The same by resampling patients, each resample judging both models."""
    differences = np.concatenate(
        [
            auroc(weighted) - auroc(second.weighted(weighted.weights))
            for weighted in resamples(first, settings.num_bootstrap, settings.seed)
        ]
    )
    difference = float(auroc(first.weighted())[0] - auroc(second.weighted())[0])
    found = percentile_interval(differences, settings.confidence)
    low, high = (difference, difference) if isinstance(found, str) else found
    return difference, float(differences.std(ddof=1)), low, high


def two_sided(difference: float, error: float) -> float:
    """p-value of a normal difference; 1 for models that agree on everything."""
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * norm.sf(abs(difference) / error))


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values adjusted for their number (Holm, Scandinavian Journal of Statistics 1979;6:65-70)."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    return adjusted
