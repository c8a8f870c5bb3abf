"""Evaluate nested or repeated cross-validation as a whole, from its parts: outer parts, or repeats.

Each part has its own models, and its own threshold from its own validation patients. Outer parts test different
patients, whose rows are concatenated like those of folds. Repeats evaluate the same patients again: a metric is the
mean over the repeats, and its interval draws patients, each with all repeats, because repeats add no patients.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from pipeline.core.columns import FOLD, PATIENT_ID, SEED, TEST
from pipeline.evaluation.covariates import Covariates
from pipeline.evaluation.curves import OPERATING_POINTS, operating_table, plot_tables
from pipeline.evaluation.cv_design import cv_parts
from pipeline.evaluation.ensembling import PATIENT, SCAN
from pipeline.evaluation.evaluate import (
    Evaluation,
    LevelResult,
    baselines_of,
    evaluate_table,
    subgroups_of,
)
from pipeline.evaluation.metrics import select_metrics
from pipeline.evaluation.models_table import SHOWN
from pipeline.evaluation.predictions import check_predictions
from pipeline.evaluation.sample import Array, sample_of
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.estimates import (
    Entry,
    Estimate,
    estimate_metrics,
    minimum_detectable_auroc_difference,
)
from pipeline.evaluation.uncertainty.repeated import RepeatedSamples, estimate_means, mean_value

Parts = Mapping[str, Evaluation]
WITHOUT_INTERVAL = "the mean of {}, each evaluated by itself"


def evaluate_cross_validation(
    predictions: pd.DataFrame, settings: Settings, covariates: Covariates | None = None
) -> Evaluation:
    """Evaluate each outer part or repeat, then all together; any other design is evaluated as it is."""
    parts = cv_parts(check_predictions(predictions), "predictions")
    found = {name: evaluate_table(rows, settings, covariates) for name, rows in parts.items()}
    return next(iter(found.values())) if len(found) == 1 else combine_parts(found, settings, covariates)


def combine_parts(found: Parts, settings: Settings, covariates: Covariates | None) -> Evaluation:
    """The tables behind the headline are those of all outer parts, or of the first repeat."""
    first = next(iter(found.values()))
    combined = replace(
        first,
        metrics={
            split: {level: combine(found, split, level, settings) for level in (SCAN, PATIENT)}
            for split in first.metrics
        },
        fitted={level: {name: part.fitted[level] for name, part in found.items()} for level in (SCAN, PATIENT)},
        models=pd.concat([part.models for part in found.values()] + [models_of(found)], ignore_index=True),
    )
    split, level = first.headline
    shown = [part.results[level][split] for part in found.values()]
    if not test_different_patients(shown, split):
        return combined
    return with_headline_tables(combined, concatenate(shown), covariates, settings)


def with_headline_tables(
    evaluation: Evaluation, shown: LevelResult, covariates: Covariates | None, settings: Settings
) -> Evaluation:
    """The tables of the headline from the patients of all outer parts."""
    return replace(
        evaluation,
        plots=plot_tables(shown.sample, None, settings)
        | {OPERATING_POINTS: operating_table(None, shown.sample, settings)},
        subgroups=subgroups_of(shown, covariates, settings),
        baselines=baselines_of(shown, covariates, settings.confidence),
    )


def combine(parts: Parts, split: str, level: str, settings: Settings) -> dict[str, Entry]:
    """All metrics of one split at one level; those of one model alone are means without an interval."""
    entries = {name: part.metrics[split][level] for name, part in parts.items()}
    found = {
        metric: without_interval({name: own[metric] for name, own in entries.items()})
        for metric in next(iter(entries.values()))
    }
    results = [part.results[level][split] for part in parts.values() if split in part.results[level]]
    if len(results) == len(parts):
        found |= combined_metrics(results, split, entries, settings)
    return {name: estimate.entry() for name, estimate in found.items()}


def without_interval(entries: Mapping[str, Entry]) -> Estimate:
    mean = mean_value(entries)
    return mean if mean.reason else replace(mean, reason=WITHOUT_INTERVAL.format(", ".join(entries)))


def combined_metrics(
    results: list[LevelResult], split: str, entries: Mapping[str, Mapping[str, Entry]], settings: Settings
) -> dict[str, Estimate]:
    """The registered metrics, of concatenated outer parts or as means over repeats."""
    if test_different_patients(results, split):
        sample = concatenate(results).sample
        found = estimate_metrics(sample, select_metrics(sample, settings), settings)
    else:
        found = estimate_means(
            entries, repeated_samples(results), select_metrics(results[0].sample, settings), settings
        )
    return found | {
        "auroc_minimum_detectable_difference": minimum_detectable_auroc_difference(found["auroc"], settings.confidence)
    }


def test_different_patients(results: list[LevelResult], split: str) -> bool:
    """Do the parts test different patients?"""
    patients = pd.concat([part.rows[PATIENT_ID].drop_duplicates() for part in results])
    return split == TEST and patients.is_unique


def concatenate(results: list[LevelResult]) -> LevelResult:
    """The rows of all parts, each with its own threshold and ranked within its part."""
    rows = pd.concat([part.rows.assign(**{FOLD: number}) for number, part in enumerate(results)], ignore_index=True)
    reason = "each outer part has a calibration of its own"
    return LevelResult(rows, replace(sample_of(rows), threshold=thresholds(results)), None, reason)


def thresholds(results: list[LevelResult]) -> Array | None:
    """(n,) of each row; None where a part has none."""
    own = [part.sample.threshold for part in results]
    if any(threshold is None for threshold in own):
        return None
    return np.repeat(np.array(own, dtype=float), [len(part.rows) for part in results])


def repeated_samples(results: list[LevelResult]) -> RepeatedSamples:
    """The same patients in every repeat; resamples ignore folds, since a patient's fold differs between repeats."""
    union = sample_of(pd.concat([part.rows.assign(**{FOLD: 0}) for part in results], ignore_index=True))
    ends = np.cumsum([len(part.rows) for part in results])
    rows = np.split(np.arange(ends[-1]), ends[:-1])
    return RepeatedSamples(union, [part.sample for part in results], rows)


def models_of(parts: Parts) -> pd.DataFrame:
    """One row per part and metric, over all its folds."""
    rows = []
    for name, part in parts.items():
        split, level = part.headline
        own = {SEED: part.models[SEED].min(), FOLD: name}
        rows += [own | {"metric": metric, **part.metrics[split][level][metric]} for metric in SHOWN]
    return pd.DataFrame(rows)
