"""Evaluate a table by its task, and write the files of an evaluation."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core.io import read_json, write_csv, write_json
from pipeline.core.paths import EvaluationPaths, RunPaths, TrainingKey
from pipeline.evaluation.calibration import Calibration
from pipeline.evaluation.conformal import Conformal
from pipeline.evaluation.covariates import Covariates
from pipeline.evaluation.cross_validation import evaluate_cross_validation
from pipeline.evaluation.decision_rule import FittedByLevel, FittedOnValidation
from pipeline.evaluation.evaluate import PATIENT, SCAN, Evaluation, Metrics
from pipeline.evaluation.headline import headline_table
from pipeline.evaluation.metrics import METRICS
from pipeline.evaluation.multilabel import evaluate_labels
from pipeline.evaluation.operating_point import OperatingPoint
from pipeline.evaluation.registry import WITHOUT_TWINS
from pipeline.evaluation.settings import MULTILABEL, Settings


def evaluate_task(predictions: pd.DataFrame, settings: Settings, covariates: Covariates | None = None) -> Evaluation:
    """Evaluate the table by the task of the settings."""
    evaluate = evaluate_labels if settings.task == MULTILABEL else evaluate_cross_validation
    return evaluate(predictions, settings, covariates)


def write_evaluation(evaluation: Evaluation, paths: EvaluationPaths) -> None:
    """Write the files of an evaluation, each atomically."""
    write_json(paths.metrics, evaluation.metrics)
    write_json(paths.summary, summarize(evaluation.metrics))
    write_fitted(evaluation.fitted, paths)
    write_csv(paths.headline, headline_table(evaluation))
    write_csv(paths.models, evaluation.models)
    for table, path in ((evaluation.subgroups, paths.subgroups), (evaluation.baselines, paths.baselines)):
        # DVC expects the file, so it is written empty where there is nothing to report.
        write_csv(path, table if table is not None else pd.DataFrame(columns=["none"]))
    split, level = evaluation.headline
    for name, table in evaluation.plots.items():
        write_csv(paths.plot(name), table.assign(split=split, level=level))


def write_fitted(fitted: FittedByLevel, paths: EvaluationPaths) -> None:
    """Write calibrations, threshold and conformal sets, which later patients are evaluated with."""
    files = {"point": paths.operating_point, "calibrations": paths.calibration, "conformal": paths.conformal}
    for name, path in files.items():
        write_json(path, {level: part(fitted, name) for level, fitted in fitted.items()})


def record_checkpoints(paths: RunPaths, keys: Iterable[TrainingKey]) -> None:
    """Record which checkpoints the evaluated predictions come from, beside the rules fitted on them."""
    recorded = {}
    for key in keys:
        path = paths.predicted_by(key)
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; 'python -m pipeline.predict' writes it with the predictions.")
        recorded[key.name] = read_json(path, "checkpoint")["checkpoint"]
    write_json(paths.evaluation.checkpoints, recorded)


def read_checkpoints(paths: EvaluationPaths) -> dict[str, str]:
    """Read what `record_checkpoints` wrote: a SHA-256 by the name of the training."""
    if not paths.checkpoints.is_file():
        raise FileNotFoundError(f"{paths.checkpoints} is missing; 'python -m pipeline.evaluate' writes it.")
    return read_json(paths.checkpoints)


def part(fitted: FittedOnValidation | Mapping[str, FittedOnValidation], name: str) -> Any:
    """One field as plain values; by label where each label has its own."""
    if isinstance(fitted, FittedOnValidation):
        return asdict(fitted)[name]
    return {label: part(own, name) for label, own in fitted.items()}


def read_fitted(paths: EvaluationPaths) -> dict[str, FittedOnValidation]:
    """Read what `write_fitted` wrote, for tasks with one class per scan."""
    for path in (paths.operating_point, paths.calibration, paths.conformal):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; 'python -m pipeline.evaluate' fits it on validation.")
    points, calibrations = read_json(paths.operating_point), read_json(paths.calibration)
    conformal = read_json(paths.conformal)
    if not all("rule" in point for point in points.values()):
        raise ValueError(
            f"{paths.operating_point}: each of several labels, outer parts or repeats has a threshold of its own, "
            "expected one; only a run with one class per scan and one cross-validation part applies to other patients."
        )
    return {
        level: FittedOnValidation(
            {name: Calibration(**fitted) for name, fitted in calibrations[level].items()},
            OperatingPoint(**points[level]),
            Conformal(**conformal[level]),
        )
        for level in points
    }


def summarize(metrics: Metrics) -> dict[str, dict[str, float | None]]:
    """The summary metrics of each split, per patient where that level has values."""
    return {
        split: summarize_split(levels[PATIENT] if has_values(levels[PATIENT]) else levels[SCAN])
        for split, levels in metrics.items()
    }


def summarize_split(entries: dict) -> dict[str, float | None]:
    """Values of the metrics that are marked for it, and the AUROC's interval, also without near twins."""
    aurocs = [name for name in ("auroc", f"{WITHOUT_TWINS}auroc") if name in entries]
    chosen = [metric.name for metric in METRICS.entries() if metric.summary and metric.name in entries]
    bounds = {f"{name}_{end}": entries[name][end] for name in aurocs for end in ("low", "high")}
    return {name: entries[name]["value"] for name in dict.fromkeys([*chosen, *aurocs])} | bounds


def has_values(entries: dict) -> bool:
    return any(entry["value"] is not None for entry in entries.values())


def read_metrics(path: Path) -> Metrics:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; 'python -m pipeline.evaluate' writes it.")
    return read_json(path)
