"""From the predictions of several fitted models to one row a scan or patient.

A model is one fold of one seed. Two models' probabilities need not mean the same, so each is calibrated on its own
validation patients before probabilities are averaged (test) or laid side by side (validation). Where a model has too
few patients to be calibrated on, all are pooled as they are, and that is said.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from pipeline.core.columns import SPLIT, VAL
from pipeline.core.paths import TrainingKey
from pipeline.evaluation.calibration import Calibration, fit_calibration
from pipeline.evaluation.predictions import (
    MODEL,
    average_folds,
    by_patient,
    num_patients_with_mixed_labels,
    prob_columns,
)
from pipeline.evaluation.sample import Sample, sample_of

SCAN, PATIENT = "scan", "patient"
Calibrations = dict[str, Calibration]
"""By the name of the model."""


@dataclass(frozen=True)
class Pooled:
    """One level's rows, one a unit and split."""

    stated: pd.DataFrame
    """What is judged: one model's probabilities as predicted, or the pooled ones of several."""
    corrected: pd.DataFrame | None
    """The one model's probabilities after its calibration …"""
    reason: str
    """… or why there are none."""


def units_by_level(predictions: pd.DataFrame, patient_rule: str) -> dict[str, pd.DataFrame]:
    """A row a model and unit at both levels; splits where a patient has scans of two labels have no patients."""
    single = [rows for _, rows in predictions.groupby(SPLIT, sort=False) if not num_patients_with_mixed_labels(rows)]
    patients = by_patient(pd.concat(single), patient_rule) if single else predictions.iloc[:0]
    return {SCAN: predictions, PATIENT: patients}


def by_model(units: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each fitted model."""
    for (seed, fold), rows in units.groupby(MODEL):
        yield TrainingKey(fold, seed).name, rows


def fit_calibrations(units: pd.DataFrame) -> Calibrations:
    """Each model's correction, fitted on its own validation rows."""
    return {name: fit_calibration(validation_of(rows)) for name, rows in by_model(units)}


def validation_of(rows: pd.DataFrame) -> Sample | None:
    """The validation sample, None where there is none."""
    validation = rows[rows[SPLIT] == VAL]
    return sample_of(validation) if len(validation) else None


def pool(units: pd.DataFrame, calibrations: Mapping[str, Calibration]) -> Pooled:
    """One row a unit, from one model or several; calibrations of models that are not there are left aside."""
    calibrations = {name: calibrations[name] for name, _ in by_model(units)}
    plain = next((fitted for fitted in calibrations.values() if fitted.method == "none"), None)
    if plain is not None:
        return Pooled(average_folds(units), None, plain.reason)
    corrected = average_folds(apply_calibrations(units, calibrations))
    if len(calibrations) > 1:
        return Pooled(corrected, None, "each model was calibrated before pooling: this is the figure without the word")
    return Pooled(average_folds(units), corrected, "")


def apply_calibrations(units: pd.DataFrame, calibrations: Mapping[str, Calibration]) -> pd.DataFrame:
    """The same rows with corrected probabilities."""
    parts = [calibrated(rows, calibrations[name]) for name, rows in by_model(units)]
    # In the order they came in: pooled rows of both levels and of all labels then stay in step.
    return pd.concat(parts).loc[units.index] if parts else units


def calibrated(rows: pd.DataFrame, calibration: Calibration) -> pd.DataFrame:
    """One model's rows with corrected probabilities."""
    columns = prob_columns(rows)
    probs = calibration.apply(rows[columns].to_numpy(dtype=float))
    return rows.assign(**dict(zip(columns, probs.T, strict=True)))


def on_ensemble_scale(rows: pd.DataFrame, model: str, calibrations: Mapping[str, Calibration]) -> pd.DataFrame:
    """One model's rows on the scale of what `pool` gives for all: calibrated where several models all are."""
    return calibrated(rows, calibrations[model]) if len(calibrations) > 1 and are_fitted(calibrations) else rows


def are_fitted(calibrations: Mapping[str, Calibration]) -> bool:
    """Has every model enough validation patients for a calibration?"""
    return all(fitted.method != "none" for fitted in calibrations.values())
