"""The results of an experiment for the tracker, read from the files of evaluate, audit and train."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.image import imread

from pipeline.config import Config
from pipeline.config.load import load_yaml
from pipeline.core.columns import FOLD, LABEL, LABEL_SEPARATOR, NO_LABEL, PATIENT_ID, PROB_PREFIX, SCAN_ID, SPLIT
from pipeline.core.io import read_json
from pipeline.core.paths import RunPaths, TrainingKey, TrainingPaths
from pipeline.core.tables import parse_values, read_table
from pipeline.evaluation.ensembling import SCAN
from pipeline.evaluation.operating_point import DEFAULT_THRESHOLD
from pipeline.evaluation.outputs import read_metrics
from pipeline.evaluation.registry import metric_title
from pipeline.store.store import Store
from pipeline.tracking.payload import CaptionedImage, Chart, middle_slice
from pipeline.tracking.privacy import pseudonym
from pipeline.tracking.step_log import find_run_id
from pipeline.training.checkpoint import TrainedCheckpoint

CHARTS = {
    "roc": "ROC",
    "precision_recall": "precision and recall",
    "calibration": "calibration",
    "calibration_smooth": "smooth calibration curve",
    "decision_curve": "net benefit over the declared thresholds",
    "confusion": "confusion at the threshold frozen on validation",
}
TABLES = ("headline", "subgroups", "baselines", "case_mix", "participant_flow")


@dataclass(frozen=True)
class Results:
    """Metrics, charts and tables of one experiment, over all its trainings."""

    summary: dict[str, Any]
    charts: dict[str, Chart]
    tables: dict[str, pd.DataFrame]


def read_results(run: RunPaths) -> Results:
    metrics = read_metrics(run.evaluation.metrics)
    paths = {name: getattr(run.evaluation, name) for name in TABLES} | {"scores": run.evaluation.plot("scores")}
    tables = {"metrics": metrics_table(metrics)}
    tables |= {name: table for name, path in paths.items() if len(table := read_titled(path))}
    summary: dict[str, Any] = flatten(metrics)
    if run.audits.is_file():
        tables["audits"] = audits_table(read_json(run.audits))
        summary |= {f"audits/{row['audit']}": row["verdict"] for row in tables["audits"].to_dict("records")}
    return Results(summary, read_charts(run), tables)


def read_titled(path: Path) -> pd.DataFrame:
    """A table of results, with the titles of its metrics; empty where an evaluation does not write it."""
    table = parse_values(read_table(path)) if path.is_file() else pd.DataFrame()
    return table.assign(title=table["metric"].map(metric_title)) if "metric" in table else table


def read_charts(run: RunPaths) -> dict[str, Chart]:
    """One for each plot table that has points; its title names the patients."""
    charts = {}
    for kind, title in CHARTS.items():
        path = run.evaluation.plot(kind)
        if path.is_file() and len(table := parse_values(read_table(path))) and not without_curve(table):
            shown = f"{table['split'].iloc[0]}, by {table['level'].iloc[0]}"
            charts[f"charts/{kind}"] = Chart(kind, table, f"{title} ({shown})")
    return charts


def without_curve(table: pd.DataFrame) -> bool:
    """Does the table give only reasons why there is no curve?"""
    return "reason" in table and bool(table["reason"].notna().all())


def flatten(metrics: dict[str, Any]) -> dict[str, float]:
    """metrics.json as one level of names, without undefined metrics."""
    flat = {}
    for split, levels in metrics.items():
        for level, entries in levels.items():
            for name, entry in entries.items():
                parts = {
                    "": entry["value"],
                    "/low": entry["low"],
                    "/high": entry["high"],
                    "/num_patients": entry["num_patients"],
                }
                flat |= {f"{split}/{level}/{name}{end}": value for end, value in parts.items() if value is not None}
    return flat


def metrics_table(metrics: dict[str, Any]) -> pd.DataFrame:
    """One row per metric, undefined ones with their reason."""
    rows = [
        {"split": split, "level": level, "metric": name, "title": metric_title(name), **entry}
        for split, levels in metrics.items()
        for level, entries in levels.items()
        for name, entry in entries.items()
    ]
    return pd.DataFrame(rows).astype(object).where(lambda table: table.notna(), None)


def audits_table(audits: dict[str, Any]) -> pd.DataFrame:
    """Verdicts alone: the metrics behind them may name scans."""
    rows = [{"audit": name, "verdict": found["verdict"], "alarm": found["is_alarm"]} for name, found in audits.items()]
    return pd.DataFrame(rows, columns=["audit", "verdict", "alarm"], dtype=object)


def cost_metrics(steps: pd.DataFrame, *, assumed_watts: float) -> dict[str, float]:
    """Hours, peak memory and an estimate of the energy from an assumed draw, by the rows of steps.csv."""
    if steps.empty:
        return {}
    hours = float(steps["elapsed_seconds"].iloc[-1]) / 3600
    return {
        "cost/hours": hours,
        "cost/peak_memory_mb": float(steps["memory_mb"].max()),
        "cost/assumed_watts": assumed_watts,
        "cost/energy_kwh_estimate": hours * assumed_watts / 1000,
    }


@dataclass(frozen=True)
class FinishedTraining:
    """One training of an experiment."""

    config: Config
    run_id: str
    """Of its W&B run."""
    key: str
    score: float
    """The monitored validation metric of its best epoch."""
    files: TrainingPaths

    @property
    def sort_key(self) -> float:
        """The score with the sign that makes more better."""
        return -self.score if self.config.training.monitor == "loss" else self.score


def read_trained_run(files: TrainingPaths) -> FinishedTraining:
    trained = TrainedCheckpoint.read(files.best)
    run_id = find_run_id(files.tracking, trained.key)
    return FinishedTraining(load_yaml(Config, files.config), run_id, trained.key, trained.score, files)


def best_training(trainings: Sequence[FinishedTraining]) -> FinishedTraining:
    """The training with the best validation score; of equal ones the first."""
    return max(trainings, key=lambda trained: trained.sort_key)


def read_ids(path: Path) -> pd.DataFrame:
    """predictions.csv unchanged, ids as text."""
    return parse_values(read_table(path))


def read_thresholds(operating_point: Path, *, is_multilabel: bool) -> dict[str, float] | float | None:
    """The probability from which a scan is called positive, frozen on validation; with several labels one for each.

    None where the most probable class is called.
    """
    point = read_json(operating_point, SCAN)[SCAN] if operating_point.is_file() else None
    if not is_multilabel:
        return point and point["threshold"]
    return {label: own["threshold"] or DEFAULT_THRESHOLD for label, own in (point or {}).items()}


def public_predictions(table: pd.DataFrame, key: bytes, thresholds: Mapping[str, float] | float | None) -> pd.DataFrame:
    """Stable pseudonyms for ids, and whether the prediction at the frozen thresholds equals the label."""
    probs = [column for column in table.columns if column.startswith(PROB_PREFIX)]
    names = {column: [pseudonym(name, key) for name in table[column]] for column in (SCAN_ID, PATIENT_ID)}
    classes = table[probs].rename(columns=lambda column: column.removeprefix(PROB_PREFIX))
    predicted = [predicted_classes(row, thresholds) for row in classes.to_dict("records")]
    true = [set(label.split(LABEL_SEPARATOR)) - {NO_LABEL} for label in table[LABEL]]
    if not isinstance(thresholds, Mapping):
        true = [{label} for label in table[LABEL]]
    public = table.assign(**names, is_correct=[one == other for one, other in zip(predicted, true, strict=True)])
    return public[[SCAN_ID, PATIENT_ID, FOLD, SPLIT, LABEL, *probs, "is_correct"]]


def predicted_classes(probs: dict[str, float], thresholds: Mapping[str, float] | float | None) -> set[str]:
    """The predicted classes; of two classes the last is the positive one."""
    if isinstance(thresholds, Mapping):
        return {name for name, prob in probs.items() if prob >= thresholds.get(name, DEFAULT_THRESHOLD)}
    if thresholds is None:
        return {max(probs, key=probs.get)}
    negative, positive = probs
    return {positive if probs[positive] >= thresholds else negative}


def add_images(
    public: pd.DataFrame, scan_ids: list[str], store: Store, explanations: Path, training: TrainingKey
) -> pd.DataFrame:
    """The table with each scan's middle slice (first channel) and, for scans on which this training's network was
    explained, the attribution map over it."""
    overlay_files = {
        caption["scan_id"]: explanations / caption["picture"]
        for caption in read_captions(explanations)
        if (caption.get("fold"), caption.get("seed")) == (training.fold, training.seed)
    }
    slices = [CaptionedImage(middle_slice(store.read(scan_id)[0][0])) for scan_id in scan_ids]
    overlays = [
        CaptionedImage(read_image(overlay_files[scan_id])) if scan_id in overlay_files else None for scan_id in scan_ids
    ]
    return public.assign(slice=slices, explanation=overlays)


def read_captions(explanations: Path) -> list[dict[str, str]]:
    captions = explanations / "captions.json"
    return read_json(captions) if captions.is_file() else []


def read_image(path: Path) -> np.ndarray:
    """Pixels (H, W, 3) in 0..255."""
    return (imread(path)[..., :3] * 255).round().astype(np.uint8)
