"""A trained fold with weights in eight bits, beside itself as it was trained."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core.columns import SCAN_ID, SPLIT, VAL
from pipeline.core.folds import read_splits, rows_of_fold
from pipeline.core.paths import CohortPaths, TrainingKey
from pipeline.evaluation.comparison import compare_experiments
from pipeline.evaluation.outputs import evaluate_task
from pipeline.evaluation.predictions import prob_columns
from pipeline.evaluation.settings import Settings
from pipeline.inference.predictor import Predictor, prediction_table
from pipeline.models.quantization import quantize_weights
from pipeline.store.store import Store
from pipeline.training.checkpoint import TrainedCheckpoint

log = logging.getLogger(__name__)
WHOLE, INT8 = "float32", "int8"
FIGURES = ("auroc", "brier_score")


def write_int8(trained: Predictor, out: Path) -> None:
    """The same checkpoint with weights in eight bits, which `Predictor` reads as any other."""
    replace(TrainedCheckpoint.read(trained.path), state_dict=quantize_weights(trained.network)).write(out)


def predict_validation(trained: Predictor, cohort: CohortPaths, key: TrainingKey) -> pd.DataFrame:
    """Predictions of the fold's validation scans."""
    rows = rows_of_fold(read_splits(cohort.splits), key.fold)[VAL].assign(**{SPLIT: VAL})
    store = Store(cohort.preprocessed)
    predictions = list(trained.predict_all(store.read(scan_id)[0] for scan_id in rows[SCAN_ID]))
    return prediction_table(rows, predictions, classes=trained.classes, key=key)


def cost_of_rounding(whole: pd.DataFrame, int8: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    """What changes from one table of predictions to the other, of the same scans in the same order."""
    columns = prob_columns(whole)
    probs = [table[columns].to_numpy() for table in (whole, int8)]
    change = np.abs(probs[0] - probs[1])
    figures = {name: scan_figures(table, settings) for name, table in ((WHOLE, whole), (INT8, int8))}
    return {
        "scans": len(whole),
        "figures": {figure: {name: found[figure] for name, found in figures.items()} for figure in FIGURES},
        "auroc_difference": auroc_difference(whole, int8, settings),
        "mean_change_of_probability": float(change.mean()),
        "largest_change_of_probability": float(change.max()),
        "calls_changed": int((probs[0].argmax(1) != probs[1].argmax(1)).sum()),
    }


def scan_figures(table: pd.DataFrame, settings: Settings) -> dict[str, float | None]:
    """Of the validation scans."""
    entries = evaluate_task(table, settings, None).metrics[VAL]["scan"]
    return {name: entries[name]["value"] for name in FIGURES}


def auroc_difference(whole: pd.DataFrame, int8: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    """Of eight bits less that of the whole, paired by patient, with its interval; or why there is none."""
    try:
        found = compare_experiments({INT8: int8, WHOLE: whole}, settings)[0]
    except ValueError as error:  # too few patients of a class
        return {"value": None, "low": None, "high": None, "reason": str(error)}
    return {"value": found.difference, "low": found.low, "high": found.high, "reason": found.reason}


def say_cost(cost: dict[str, Any], path: Path) -> None:
    """Log one line."""
    auroc, difference, size = cost["figures"]["auroc"], cost["auroc_difference"], cost["bytes"]
    largest = cost["largest_change_of_probability"]
    interval = difference["reason"] or f"difference {difference['low']:+.3f} to {difference['high']:+.3f}"
    log.info(
        f"{path}: {size[INT8] / 1e6:.1f} MB, from {size[WHOLE] / 1e6:.1f}; of {cost['scans']} validation scans "
        f"{cost['calls_changed']} are called otherwise, probabilities move by {largest:.3f} at most"
        f"; AUROC {auroc[INT8]}, from {auroc[WHOLE]} ({interval}). Arithmetic is as before, and so is speed."
    )
