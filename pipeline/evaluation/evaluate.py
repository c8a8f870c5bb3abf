"""From the whole table of predictions to everything that is reported about it."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from pipeline.core.columns import SPLIT, TEST, TRAIN, VAL
from pipeline.evaluation.baselines import judge_floors
from pipeline.evaluation.conformal import Conformal, conformal_metrics
from pipeline.evaluation.covariates import Background
from pipeline.evaluation.curves import OPERATING_POINTS, operating_table, plot_tables
from pipeline.evaluation.cv_design import check_division
from pipeline.evaluation.decision_rule import Frozen, FrozenByLevel, freeze
from pipeline.evaluation.ensembling import PATIENT, SCAN, Pooled, pool, units_by_level
from pipeline.evaluation.models_table import judge_cuts, judge_models
from pipeline.evaluation.one_vs_rest import about_class, named, one_class
from pipeline.evaluation.predictions import check_predictions, patients_of_two_labels
from pipeline.evaluation.registry import Metric, catalogue
from pipeline.evaluation.sample import Sample, sample_of
from pipeline.evaluation.settings import ORDINAL, Settings
from pipeline.evaluation.subgroups import judge_subgroups
from pipeline.evaluation.uncertainty.estimates import Entry, Estimate, estimate_metrics, smallest_difference

Metrics = dict[str, dict[str, dict[str, Entry]]]
CALIBRATED = (
    "brier_score",
    "brier_miscalibration",
    "log_loss",
    "expected_calibration_error",
    "calibration_slope",
    "calibration_intercept",
)
"""Metrics that a calibration may change; the others look at the order alone."""


@dataclass(frozen=True)
class Evaluation:
    """What the evaluate stage writes."""

    metrics: Metrics
    frozen: FrozenByLevel
    """Fitted on validation."""
    headline: tuple[str, str]
    """(split, level) that the plot tables show."""
    plots: dict[str, pd.DataFrame]
    models: pd.DataFrame
    """Each model of the headline by itself."""
    subgroups: pd.DataFrame | None
    """Of the headline, with more than two classes of each against the rest; None without a background."""
    floors: pd.DataFrame | None
    """Likewise."""
    judged: Mapping[str, dict[str, "Judged"]]
    """By level and split."""


@dataclass(frozen=True)
class Judged:
    """One split at one level: its rows, and the arrays at the frozen threshold, before and after calibration."""

    rows: pd.DataFrame
    sample: Sample
    corrected: Sample | None
    reason: str
    """Why nothing was corrected."""


def evaluate_predictions(predictions: pd.DataFrame, settings: Settings | None = None) -> Metrics:
    """metrics.json: {split: {level: {metric: {value, low, high, num_patients, reason}}}}."""
    return evaluate_table(predictions, settings or Settings()).metrics


def evaluate_table(
    predictions: pd.DataFrame,
    settings: Settings,
    background: Background | None = None,
    frozen: FrozenByLevel | None = None,
) -> Evaluation:
    """One division: freeze on validation, or take what was frozen before; judge every split, the headline in detail."""
    predictions = check_predictions(predictions)
    check_division(predictions, "predictions")
    units = units_by_level(predictions, settings.patient_rule)
    if frozen is None:
        frozen = {level: freeze(rows, settings) for level, rows in units.items()}
    judged = judge_units(units, frozen)
    split, level = headline_of(judged)
    shown, validation = judged[level][split], judged[level][VAL].sample if VAL in judged[level] else None
    return Evaluation(
        metrics=all_metrics(judged, frozen, settings),
        frozen=frozen,
        headline=(split, level),
        # On validation the calibration was fitted: drawn there, it would flatter itself.
        plots=plot_tables(shown.sample, None if split == VAL else shown.corrected, settings)
        | {OPERATING_POINTS: operating_table(validation, shown.sample, settings, len(frozen[level].calibrations))},
        models=judge_models(units[level][units[level][SPLIT] == split], settings),
        subgroups=subgroups_of(shown, background, settings),
        floors=floors_of(shown, background, settings.confidence),
        judged=judged,
    )


def subgroups_of(shown: Judged, background: Background | None, settings: Settings) -> pd.DataFrame | None:
    if background is None:
        return None
    if shown.sample.is_binary:
        return judge_subgroups(shown.sample, shown.rows, background, settings)
    return named(
        {name: judge_subgroups(sample_of(rows), rows, background, settings) for name, rows in by_class(shown).items()},
        "covariate",
    )


def floors_of(shown: Judged, background: Background | None, confidence: float) -> pd.DataFrame | None:
    if background is None:
        return None
    if shown.sample.is_binary:
        return judge_floors(shown.sample, shown.rows, background, confidence)
    return named(
        {
            name: judge_floors(sample_of(rows), rows, about_class(background, name), confidence)
            for name, rows in by_class(shown).items()
        },
        "name",
    )


def by_class(shown: Judged) -> dict[str, pd.DataFrame]:
    """The rows with two answers, each class against the rest."""
    return {name: one_class(shown.rows, name) for name in shown.sample.class_names}


def judge_units(units: Mapping[str, pd.DataFrame], frozen: FrozenByLevel) -> dict[str, dict[str, Judged]]:
    """What is judged, by level and split: pooled over models, at the frozen threshold."""
    return {level: splits_of(pool(rows, frozen[level].calibrations), frozen[level]) for level, rows in units.items()}


def splits_of(pooled: Pooled, frozen: Frozen) -> dict[str, Judged]:
    """Everything of a level, by split."""
    found = {}
    for split, rows in pooled.stated.groupby(SPLIT, sort=False):
        sample = sample_of(rows, frozen.point.threshold)
        after = None if pooled.corrected is None else sample_of(pooled.corrected.loc[rows.index])
        found[str(split)] = Judged(rows, sample, after, pooled.reason)
    return found


def headline_of(judged: Mapping[str, dict[str, Judged]]) -> tuple[str, str]:
    """Test before validation before training, patients before scans."""
    split = next(split for split in (TEST, VAL, TRAIN) if split in judged[SCAN])
    return split, PATIENT if split in judged[PATIENT] else SCAN


def all_metrics(judged: Mapping[str, dict[str, Judged]], frozen: FrozenByLevel, settings: Settings) -> Metrics:
    """By split, level and name."""
    return {
        split: {
            level: judge(judged[level][split], split, frozen[level], settings)
            if split in judged[level]
            else nothing(judged[SCAN][split], settings)
            for level in (SCAN, PATIENT)
        }
        for split in (TRAIN, VAL, TEST)
        if split in judged[SCAN]
    }


def judge(judged: Judged, split: str, frozen: Frozen, settings: Settings) -> dict[str, Entry]:
    """All metrics of one split at one level, and again those that calibration changes."""
    metrics = catalogue(judged.sample, settings)
    estimates = estimate_metrics(judged.sample, metrics, settings)
    estimates["auroc_smallest_difference"] = smallest_difference(estimates["auroc"], settings.confidence)
    if settings.task == ORDINAL and not judged.sample.is_binary:
        estimates |= judge_cuts(judged.sample, settings)
    if split != TRAIN:
        estimates |= judge_calibrated(judged, split, metrics, settings)
        estimates |= judge_sets(judged.sample, split, frozen.conformal, settings)
    return {name: estimate.entry() for name, estimate in estimates.items()}


def judge_calibrated(
    judged: Judged, split: str, metrics: Mapping[str, Metric], settings: Settings
) -> dict[str, Estimate]:
    chosen = {name: metrics[name] for name in CALIBRATED if name in metrics}
    if split == VAL and judged.corrected is not None:
        found = undefined(chosen, judged.sample, "the calibration was fitted on these patients")
    elif judged.corrected is None:
        found = undefined(chosen, judged.sample, judged.reason)
    else:
        found = estimate_metrics(judged.corrected, chosen, settings)
    return {f"calibrated_{name}": estimate for name, estimate in found.items()}


def judge_sets(sample: Sample, split: str, conformal: Conformal, settings: Settings) -> dict[str, Estimate]:
    metrics = conformal_metrics(conformal)
    reason = conformal.reason or ("the sets were fitted on these patients" if split == VAL else None)
    return undefined(metrics, sample, reason) if reason else estimate_metrics(sample, metrics, settings)


def undefined(metrics: Mapping[str, Metric], sample: Sample, reason: str) -> dict[str, Estimate]:
    return {name: Estimate(None, None, None, sample.num_patients, reason) for name in metrics}


def nothing(scans: Judged, settings: Settings) -> dict[str, Entry]:
    """The patient level where a patient has no single label."""
    count = patients_of_two_labels(scans.rows)
    reason = f"{count} patients have scans of different labels, so a patient has no single one"
    empty = undefined(catalogue(scans.sample, settings), scans.sample, reason)
    return {name: estimate.entry() for name, estimate in empty.items()}
