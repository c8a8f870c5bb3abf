"""Quantize a trained checkpoint to int8, and compare its validation predictions with the original ones."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core.columns import VAL
from pipeline.evaluation.comparison import compare_experiments
from pipeline.evaluation.outputs import evaluate_task
from pipeline.evaluation.predictions import prob_columns
from pipeline.evaluation.settings import Settings
from pipeline.inference.predictor import Predictor
from pipeline.models.quantization import quantize_weights
from pipeline.training.checkpoint import TrainedCheckpoint

log = logging.getLogger(__name__)
FLOAT32, INT8 = "float32", "int8"
METRICS = ("auroc", "brier_score")


def write_int8(trained: Predictor, out: Path) -> None:
    """Write the same checkpoint with int8 weights, which `Predictor` loads like any other."""
    replace(TrainedCheckpoint.read(trained.path), state_dict=quantize_weights(trained.network)).write(out)


def quantization_cost(original: pd.DataFrame, int8: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    """Differences between two tables of predictions of the same scans in the same order."""
    columns = prob_columns(original)
    probs = [table[columns].to_numpy() for table in (original, int8)]
    change = np.abs(probs[0] - probs[1])
    metrics = {name: scan_metrics(table, settings) for name, table in ((FLOAT32, original), (INT8, int8))}
    return {
        "scans": len(original),
        "metrics": {metric: {name: values[metric] for name, values in metrics.items()} for metric in METRICS},
        "auroc_difference": auroc_difference(original, int8, settings),
        "mean_probability_change": float(change.mean()),
        "max_probability_change": float(change.max()),
        "changed_predictions": int((probs[0].argmax(1) != probs[1].argmax(1)).sum()),
    }


def scan_metrics(table: pd.DataFrame, settings: Settings) -> dict[str, float | None]:
    """Metrics over the validation scans."""
    entries = evaluate_task(table, settings, None).metrics[VAL]["scan"]
    return {name: entries[name]["value"] for name in METRICS}


def auroc_difference(original: pd.DataFrame, int8: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    """AUROC of int8 minus that of float32, paired by patient, with its interval; or the reason why it is undefined."""
    try:
        found = compare_experiments({INT8: int8, FLOAT32: original}, settings)[0]
    except ValueError as error:  # too few patients of a class
        return {"value": None, "low": None, "high": None, "reason": str(error)}
    return {"value": found.difference, "low": found.low, "high": found.high, "reason": found.reason}


def log_cost(cost: dict[str, Any], path: Path) -> None:
    """Log one line."""
    auroc, difference, size = cost["metrics"]["auroc"], cost["auroc_difference"], cost["bytes"]
    largest = cost["max_probability_change"]
    interval = difference["reason"] or f"difference {difference['low']:+.3f} to {difference['high']:+.3f}"
    log.info(
        f"{path}: {size[INT8] / 1e6:.1f} MB, from {size[FLOAT32] / 1e6:.1f}; {cost['changed_predictions']} of "
        f"{cost['scans']} validation scans get another class, probabilities change by at most {largest:.3f}; "
        f"AUROC {auroc[INT8]}, from {auroc[FLOAT32]} ({interval}). Arithmetic and speed are unchanged."
    )
