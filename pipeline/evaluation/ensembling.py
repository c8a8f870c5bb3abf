"""Ensemble the predictions of several trained models: one row per scan or patient.

A model is one fold of one seed. The probabilities of two models are not on one scale, so each model is calibrated on
its own validation patients before probabilities are averaged (test) or concatenated (validation). A validation patient
is calibrated by what the other validation patients of its model say: judged by a correction that was fitted on it, even
noise would look skilled and calibrated. Where a model has too few validation patients for a calibration, all are used
as predicted, with the reason.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from pipeline.core.columns import SPLIT, VAL
from pipeline.core.paths import TrainingKey
from pipeline.evaluation.calibration import Calibration, cross_fit, fit_calibration
from pipeline.evaluation.predictions import (
    MODEL,
    aggregate_by_patient,
    average_folds,
    num_patients_with_mixed_labels,
    prob_columns,
)
from pipeline.evaluation.sample import Sample, sample_of

SCAN, PATIENT = "scan", "patient"
Calibrations = dict[str, Calibration]
"""By the name of the model."""
CALIBRATED_BEFORE_AVERAGING = (
    "each model was calibrated before averaging, so the uncalibrated name already refers to calibrated probabilities; "
    "validation patients by what the others say"
)


@dataclass(frozen=True)
class EnsemblePredictions:
    """One level's rows, one per unit and split."""

    rows: pd.DataFrame
    """What is evaluated: the probabilities of one model as predicted, or the averaged ones of several."""
    calibrated: pd.DataFrame | None
    """The probabilities of a single model after its calibration …"""
    reason: str
    """… or why there are none."""


def units_by_level(predictions: pd.DataFrame, patient_rule: str) -> dict[str, pd.DataFrame]:
    """A row a model and unit at both levels; splits where a patient has scans of two labels have no patients."""
    single = [rows for _, rows in predictions.groupby(SPLIT, sort=False) if not num_patients_with_mixed_labels(rows)]
    patients = aggregate_by_patient(pd.concat(single), patient_rule) if single else predictions.iloc[:0]
    return {SCAN: predictions, PATIENT: patients}


def by_model(units: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The name and the rows of each trained model."""
    for (seed, fold), rows in units.groupby(MODEL):
        yield TrainingKey(fold, seed).name, rows


def fit_calibrations(units: pd.DataFrame) -> Calibrations:
    """The calibration of each model, fitted on its own validation rows."""
    return {name: fit_calibration(validation_of(rows)) for name, rows in by_model(units)}


def validation_of(rows: pd.DataFrame) -> Sample | None:
    """The validation sample, None where there is none."""
    validation = rows[rows[SPLIT] == VAL]
    return sample_of(validation) if len(validation) else None


def ensemble_models(units: pd.DataFrame, calibrations: Mapping[str, Calibration]) -> EnsemblePredictions:
    """One row per unit, from one model or several; calibrations of absent models are ignored."""
    calibrations = {name: calibrations[name] for name, _ in by_model(units)}
    uncalibrated = next((fitted for fitted in calibrations.values() if fitted.method == "none"), None)
    if uncalibrated is not None:
        return EnsemblePredictions(average_folds(units), None, uncalibrated.reason)
    calibrated_rows = average_folds(apply_calibrations(units, calibrations))
    if len(calibrations) > 1:
        return EnsemblePredictions(calibrated_rows, None, CALIBRATED_BEFORE_AVERAGING)
    return EnsemblePredictions(average_folds(units), calibrated_rows, "")


def apply_calibrations(units: pd.DataFrame, calibrations: Mapping[str, Calibration]) -> pd.DataFrame:
    """The same rows with calibrated probabilities."""
    calibrated_parts = [cross_calibrate(rows, calibrations[name]) for name, rows in by_model(units)]
    # Keep the order of `units`: rows of both levels and of all labels then stay aligned.
    return pd.concat(calibrated_parts).loc[units.index] if calibrated_parts else units


def cross_calibrate(rows: pd.DataFrame, calibration: Calibration) -> pd.DataFrame:
    """One model's rows with calibrated probabilities, those of validation patients by a correction without them."""
    found, is_validation = calibrate(rows, calibration), rows[SPLIT] == VAL
    if is_validation.any():
        found.loc[is_validation, prob_columns(rows)] = cross_fit(sample_of(rows[is_validation]), calibration.method)
    return found


def calibrate(rows: pd.DataFrame, calibration: Calibration) -> pd.DataFrame:
    """One model's rows with calibrated probabilities."""
    columns = prob_columns(rows)
    probs = calibration.apply(rows[columns].to_numpy(dtype=float))
    return rows.assign(**dict(zip(columns, probs.T, strict=True)))


def on_ensemble_scale(rows: pd.DataFrame, model: str, calibrations: Mapping[str, Calibration]) -> pd.DataFrame:
    """One model's rows on the scale of `ensemble_models`: calibrated where several models all are."""
    return calibrate(rows, calibrations[model]) if len(calibrations) > 1 and are_fitted(calibrations) else rows


def are_fitted(calibrations: Mapping[str, Calibration]) -> bool:
    """Has every model enough validation patients for a calibration?"""
    return all(fitted.method != "none" for fitted in calibrations.values())
