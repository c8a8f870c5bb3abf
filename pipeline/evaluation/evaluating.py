"""From the whole table of predictions to everything that is reported about it."""

from dataclasses import dataclass, replace

import pandas as pd

from pipeline.artifacts import SPLIT, TEST, TRAIN, VAL
from pipeline.evaluation.background import Background
from pipeline.evaluation.calibrators import Calibration, fit_calibration
from pipeline.evaluation.catalogue import catalogue
from pipeline.evaluation.estimates import Entry, Estimate, estimate_metrics
from pipeline.evaluation.floors import judge_floors
from pipeline.evaluation.operating_point import OperatingPoint, choose_operating_point
from pipeline.evaluation.plots import plot_tables
from pipeline.evaluation.predictions import average_folds, by_patient, check_predictions, patients_of_two_labels
from pipeline.evaluation.sample import Sample, sample_of
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.subgroups import judge_subgroups

Metrics = dict[str, dict[str, dict[str, Entry]]]
Samples = dict[str, dict[str, Sample]]
SCAN, PATIENT = "scan", "patient"
CALIBRATED = ("brier_score", "log_loss", "expected_calibration_error", "calibration_slope", "calibration_intercept")
"""Metrics that a calibration may change; the others look at the order alone."""


@dataclass(frozen=True)
class Evaluation:
    """What the evaluate stage writes."""

    metrics: Metrics
    operating_points: dict[str, OperatingPoint]
    """By level; frozen on validation."""
    calibrations: dict[str, Calibration]
    """By level; fitted on validation."""
    headline: tuple[str, str]
    """(split, level) that the plot tables show."""
    plots: dict[str, pd.DataFrame]
    subgroups: pd.DataFrame | None
    """Of the headline; None with more than two classes or without a background."""
    floors: pd.DataFrame | None
    """Likewise."""


def evaluate_predictions(predictions: pd.DataFrame, settings: Settings | None = None) -> Metrics:
    """metrics.json: {split: {level: {metric: {value, low, high, num_patients, reason}}}}."""
    return evaluate_table(predictions, settings or Settings()).metrics


def evaluate_table(predictions: pd.DataFrame, settings: Settings, background: Background | None = None) -> Evaluation:
    """Choose and fit on validation, then judge every split at both levels, and the headline against its background."""
    scans = average_folds(check_predictions(predictions))
    samples = samples_of(scans, settings.patient_rule)
    validation = {level: splits.get(VAL) for level, splits in samples.items()}
    points = {level: choose_operating_point(validation[level], settings, num_classes(samples)) for level in samples}
    calibrations = {level: fit_calibration(validation[level]) for level in samples}
    judged = at_operating_points(samples, points)
    split, level = headline_of(judged)
    shown, rows = judged[level][split], rows_of(scans, split, level, settings.patient_rule)
    has_background = background is not None and shown.is_binary
    return Evaluation(
        metrics=all_metrics(judged, scans, calibrations, settings),
        operating_points=points,
        calibrations=calibrations,
        headline=(split, level),
        plots=plot_tables(shown, settings.confidence),
        subgroups=judge_subgroups(shown, rows, background, settings.confidence) if has_background else None,
        floors=judge_floors(shown, rows, background, settings.confidence) if has_background else None,
    )


def rows_of(scans: pd.DataFrame, split: str, level: str, patient_rule: str) -> pd.DataFrame:
    """The rows behind a sample, in its order."""
    rows = scans[scans[SPLIT] == split]
    return rows if level == SCAN else by_patient(rows, patient_rule)


def at_operating_points(samples: Samples, points: dict[str, OperatingPoint]) -> Samples:
    """The samples, each level judged at its own frozen threshold."""
    return {
        level: {split: replace(sample, threshold=points[level].threshold) for split, sample in splits.items()}
        for level, splits in samples.items()
    }


def all_metrics(
    judged: Samples, scans: pd.DataFrame, calibrations: dict[str, Calibration], settings: Settings
) -> Metrics:
    """By split, level and name."""
    metrics: Metrics = {}
    for split in [split for split in (TRAIN, VAL, TEST) if split in judged[SCAN]]:
        metrics[split] = {
            level: judge(judged[level][split], split, calibrations[level], settings)
            if split in judged[level]
            else nothing(judged[SCAN][split], scans, split, settings)
            for level in (SCAN, PATIENT)
        }
    return metrics


def samples_of(scans: pd.DataFrame, patient_rule: str) -> Samples:
    """Samples by level and split; a split where a patient has scans of two labels has no patient level."""
    samples: Samples = {SCAN: {}, PATIENT: {}}
    for split, rows in scans.groupby(SPLIT, sort=False):
        samples[SCAN][str(split)] = sample_of(rows)
        if not patients_of_two_labels(rows):
            samples[PATIENT][str(split)] = sample_of(by_patient(rows, patient_rule))
    return samples


def num_classes(samples: Samples) -> int:
    return next(iter(samples[SCAN].values())).num_classes


def headline_of(samples: Samples) -> tuple[str, str]:
    """Test before validation before training, patients before scans."""
    split = next(split for split in (TEST, VAL, TRAIN) if split in samples[SCAN])
    return split, PATIENT if split in samples[PATIENT] else SCAN


def judge(sample: Sample, split: str, calibration: Calibration, settings: Settings) -> dict[str, Entry]:
    """All metrics of one split at one level, and again those that calibration changes."""
    estimates = estimate_metrics(sample, settings)
    entries = {name: estimate.entry() for name, estimate in estimates.items()}
    if split == TRAIN:
        return entries
    return entries | calibrated_entries(sample, split, calibration, settings)


def calibrated_entries(sample: Sample, split: str, calibration: Calibration, settings: Settings) -> dict[str, Entry]:
    names = [name for name in CALIBRATED if name in catalogue(sample, settings)]
    reason = "the calibration was fitted on these patients" if split == VAL else calibration.reason
    if split == VAL or calibration.method == "none":
        estimates = {name: Estimate(None, None, None, sample.num_patients, reason) for name in names}
    else:
        corrected = replace(sample, probs=calibration.apply(sample.probs))
        estimates = estimate_metrics(corrected, settings, names)
    return {f"calibrated_{name}": estimates[name].entry() for name in names}


def nothing(sample: Sample, scans: pd.DataFrame, split: str, settings: Settings) -> dict[str, Entry]:
    """The patient level where a patient has no single label."""
    count = patients_of_two_labels(scans[scans[SPLIT] == split])
    reason = f"{count} patients have scans of different labels, so a patient has no single one"
    empty = Estimate(None, None, None, sample.num_patients, reason)
    return {name: empty.entry() for name in catalogue(sample, settings)}
