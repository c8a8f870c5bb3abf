"""Evaluate a table of predictions of one cross-validation part: all metrics, tables and fitted decision rules."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from pipeline.core.columns import SPLIT, TEST, TRAIN, VAL
from pipeline.evaluation.baselines import evaluate_baselines
from pipeline.evaluation.conformal import Conformal, conformal_metrics
from pipeline.evaluation.covariates import Covariates
from pipeline.evaluation.curves import OPERATING_POINTS, operating_table, plot_tables
from pipeline.evaluation.cv_design import check_cv_design
from pipeline.evaluation.decision_rule import FittedByLevel, FittedOnValidation, fit_on_validation
from pipeline.evaluation.ensembling import PATIENT, SCAN, EnsemblePredictions, ensemble_models, units_by_level
from pipeline.evaluation.metrics import select_metrics
from pipeline.evaluation.models_table import metrics_by_cut, metrics_by_model
from pipeline.evaluation.one_vs_rest import covariates_of_class, named, one_vs_rest_table
from pipeline.evaluation.predictions import check_predictions, class_names, num_patients_with_mixed_labels
from pipeline.evaluation.registry import Metric
from pipeline.evaluation.sample import Sample, sample_of
from pipeline.evaluation.settings import ORDINAL, Settings
from pipeline.evaluation.subgroups import adjust_p_values, evaluate_subgroups
from pipeline.evaluation.uncertainty.estimates import (
    Entry,
    Estimate,
    estimate_metrics,
    minimum_detectable_auroc_difference,
)

Metrics = dict[str, dict[str, dict[str, Entry]]]


@dataclass(frozen=True)
class Evaluation:
    """What the evaluate stage writes."""

    metrics: Metrics
    fitted: FittedByLevel
    """Fitted on validation."""
    headline: tuple[str, str]
    """(split, level) that the plot tables show."""
    plots: dict[str, pd.DataFrame]
    models: pd.DataFrame
    """Metrics of each model of the headline."""
    subgroups: pd.DataFrame | None
    """Of the headline, with more than two classes of each against the rest; None without covariates."""
    baselines: pd.DataFrame | None
    """Likewise."""
    results: "ResultsByLevel"
    classes: tuple[str, ...]
    settings: Settings


@dataclass(frozen=True)
class LevelResult:
    """One split at one level: its rows, and their arrays at the frozen threshold, before and after calibration."""

    rows: pd.DataFrame
    sample: Sample
    calibrated: Sample | None
    reason: str
    """Why there is no calibrated sample."""


ResultsByLevel = Mapping[str, dict[str, LevelResult]]
"""By level, then by split."""


def evaluate_predictions(predictions: pd.DataFrame, settings: Settings | None = None) -> Metrics:
    """metrics.json: {split: {level: {metric: {value, low, high, num_patients, reason}}}}."""
    return evaluate_table(predictions, settings or Settings()).metrics


def evaluate_table(
    predictions: pd.DataFrame,
    settings: Settings,
    covariates: Covariates | None = None,
    fitted: FittedByLevel | None = None,
) -> Evaluation:
    """Evaluate one cross-validation part: every split by metrics, the headline with tables.

    Thresholds, calibrations and conformal sets are fitted on validation, unless `fitted` has them.
    """
    predictions = check_predictions(predictions)
    check_cv_design(predictions, "predictions")
    units = units_by_level(predictions, settings.patient_rule)
    if fitted is None:
        fitted = {level: fit_on_validation(rows, settings) for level, rows in units.items()}
    results = level_results(units, fitted)
    split, level = headline_of(results)
    shown, validation = results[level][split], results[level][VAL].sample if VAL in results[level] else None
    return Evaluation(
        metrics=all_metrics(results, fitted, settings),
        fitted=fitted,
        headline=(split, level),
        # The calibration was fitted on validation, where its curve would look perfect.
        plots=plot_tables(shown.sample, None if split == VAL else shown.calibrated, settings)
        | {OPERATING_POINTS: operating_table(validation, shown.sample, settings, len(fitted[level].calibrations))},
        models=metrics_by_model(units[level][units[level][SPLIT] == split], settings),
        subgroups=subgroups_of(shown, covariates, settings),
        baselines=baselines_of(shown, covariates, settings.confidence),
        results=results,
        classes=tuple(class_names(predictions)),
        settings=settings,
    )


def subgroups_of(shown: LevelResult, covariates: Covariates | None, settings: Settings) -> pd.DataFrame | None:
    if covariates is None:
        return None
    if shown.sample.is_binary:
        return evaluate_subgroups(shown.sample, shown.rows, covariates, settings)
    found = named(
        {
            name: evaluate_subgroups(sample_of(rows), rows, covariates, settings)
            for name, rows in by_class(shown).items()
        },
        "covariate",
    )
    return None if found is None else adjust_p_values(found)


def baselines_of(shown: LevelResult, covariates: Covariates | None, confidence: float) -> pd.DataFrame | None:
    if covariates is None:
        return None
    if shown.sample.is_binary:
        return evaluate_baselines(shown.sample, shown.rows, covariates, confidence)
    return named(
        {
            name: evaluate_baselines(sample_of(rows), rows, covariates_of_class(covariates, name), confidence)
            for name, rows in by_class(shown).items()
        },
        "name",
    )


def by_class(shown: LevelResult) -> dict[str, pd.DataFrame]:
    """The rows as a table of two classes for each class against the rest."""
    return {name: one_vs_rest_table(shown.rows, name) for name in shown.sample.class_names}


def level_results(units: Mapping[str, pd.DataFrame], fitted: FittedByLevel) -> ResultsByLevel:
    """Every split at every level: the ensemble of all models, at the frozen threshold."""
    return {
        level: results_of_splits(ensemble_models(rows, fitted[level].calibrations), fitted[level])
        for level, rows in units.items()
    }


def results_of_splits(ensemble: EnsemblePredictions, fitted: FittedOnValidation) -> dict[str, LevelResult]:
    """Every split of one level."""
    found = {}
    for split, rows in ensemble.rows.groupby(SPLIT, sort=False):
        sample = sample_of(rows, fitted.point.threshold)
        calibrated = None if ensemble.calibrated is None else sample_of(ensemble.calibrated.loc[rows.index])
        found[str(split)] = LevelResult(rows, sample, calibrated, ensemble.reason)
    return found


def headline_of(results: ResultsByLevel) -> tuple[str, str]:
    """Test before validation before training, patients before scans."""
    split = next(split for split in (TEST, VAL, TRAIN) if split in results[SCAN])
    return split, PATIENT if split in results[PATIENT] else SCAN


def all_metrics(results: ResultsByLevel, fitted: FittedByLevel, settings: Settings) -> Metrics:
    """By split, level and name."""
    return {
        split: {
            level: compute_metrics(results[level][split], split, fitted[level], settings)
            if split in results[level]
            else undefined_metrics(results[SCAN][split], settings)
            for level in (SCAN, PATIENT)
        }
        for split in (TRAIN, VAL, TEST)
        if split in results[SCAN]
    }


def compute_metrics(
    result: LevelResult, split: str, fitted: FittedOnValidation, settings: Settings
) -> dict[str, Entry]:
    """All metrics of one split at one level; those that calibration changes are computed again after it."""
    metrics = select_metrics(result.sample, settings)
    estimates = estimate_metrics(result.sample, metrics, settings)
    estimates["auroc_minimum_detectable_difference"] = minimum_detectable_auroc_difference(
        estimates["auroc"], settings.confidence
    )
    if settings.task == ORDINAL and not result.sample.is_binary:
        estimates |= metrics_by_cut(result.sample, settings)
    if split != TRAIN:
        estimates |= calibrated_metrics(result, split, metrics, settings)
        estimates |= conformal_set_metrics(result.sample, split, fitted.conformal, settings)
    return {name: estimate.entry() for name, estimate in estimates.items()}


def calibrated_metrics(
    result: LevelResult, split: str, metrics: Mapping[str, Metric], settings: Settings
) -> dict[str, Estimate]:
    """The metrics that calibration changes, as `calibrated_<name>`."""
    chosen = {name: metric for name, metric in metrics.items() if metric.recalibrated}
    if split == VAL and result.calibrated is not None:
        found = undefined(chosen, result.sample, "the calibration was fitted on these patients")
    elif result.calibrated is None:
        found = undefined(chosen, result.sample, result.reason)
    else:
        found = estimate_metrics(result.calibrated, chosen, settings)
    return {f"calibrated_{name}": estimate for name, estimate in found.items()}


def conformal_set_metrics(sample: Sample, split: str, conformal: Conformal, settings: Settings) -> dict[str, Estimate]:
    metrics = conformal_metrics(conformal)
    reason = conformal.reason or ("the sets were fitted on these patients" if split == VAL else None)
    return undefined(metrics, sample, reason) if reason else estimate_metrics(sample, metrics, settings)


def undefined(metrics: Mapping[str, Metric], sample: Sample, reason: str) -> dict[str, Estimate]:
    return {name: Estimate(None, None, None, sample.num_patients, reason) for name in metrics}


def undefined_metrics(scans: LevelResult, settings: Settings) -> dict[str, Entry]:
    """The patient level where a patient has scans of different labels."""
    count = num_patients_with_mixed_labels(scans.rows)
    reason = f"{count} patients have scans of different labels, so a patient has no single one"
    empty = undefined(select_metrics(scans.sample, settings), scans.sample, reason)
    return {name: estimate.entry() for name, estimate in empty.items()}
