"""Formats of numbers, intervals and p-values, names of splits, and tables for the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE
from rich.table import Table

from pipeline import config
from pipeline.evaluation.comparison import Comparison
from pipeline.evaluation.evaluate import PATIENT, SCAN, Evaluation
from pipeline.evaluation.metrics import metric_title
from pipeline.evaluation.outputs import has_values, read_metrics

Entry = dict[str, Any]
"""A metric of metrics.json."""
SPLIT_NAMES = {"test": "locked test set", "val": "validation", "train": "training set"}
UNITS = {PATIENT: "patients", SCAN: "scans"}
EXTERNAL_METRICS = ("auroc", "sensitivity", "specificity", "brier_score", "calibration_slope", "calibration_intercept")
RECALIBRATED = "recalibrated_"
COLUMNS = ("auroc", "accuracy", "majority_baseline")


def number(value: float | None, digits: int = 3) -> str:
    """Fixed digits with a real minus sign."""
    return "—" if value is None else f"{value:.{digits}f}".replace("-", "−")


def optional(value: Any) -> float | None:
    """None for the empty cell of a table."""
    return None if pd.isna(value) else float(value)


def interval(entry: Entry, digits: int = 3) -> str:
    if entry["low"] is None:
        return "no interval"
    return f"{number(entry['low'], digits)} to {number(entry['high'], digits)}"


def format_p_value(p_value: float | None) -> str:
    if p_value is None:
        return number(None)
    return "< 0.001" if p_value < 0.001 else number(p_value)


def span(low: Any, high: Any) -> str:
    """The interval of a table, empty without one."""
    return "" if pd.isna(low) else f"{number(optional(low))} to {number(optional(high))}"


def results_table(metrics_files: Mapping[str, Path], cohort: str, settings: config.Evaluation) -> Table:
    """One row per experiment and split, by patient if possible; 80 characters wide."""
    table = Table(title=f"{cohort}: value ({settings.confidence:.0%} interval)", title_justify="left", box=SIMPLE)
    for name in ("Experiment", "Split", "Patients", "AUROC", "Accuracy", "Baseline"):
        table.add_column(name)
    for experiment, path in metrics_files.items():
        for split, levels in read_metrics(path).items():
            entries = levels[PATIENT if has_values(levels[PATIENT]) else SCAN]
            cells = (format_entry(entries[name]) for name in COLUMNS)
            table.add_row(experiment, split, str(entries["auroc"]["num_patients"]), *cells)
    return table


def probe_table(results: pd.DataFrame, confidence: float) -> Table:
    """A row for each label and number of training patients."""
    table = Table(title=f"AUROC ({confidence:.0%} interval)", title_justify="left", box=SIMPLE)
    for name in ("Label", "Patients a class", "Patients judged", "AUROC"):
        table.add_column(name)
    for row in (
        results.astype(object).where(results.notna(), None).rename(columns={"auroc": "value"}).to_dict("records")
    ):
        table.add_row(row["label"], str(row["patients_per_class"]), str(row["num_patients"]), format_entry(row))
    return table


def format_entry(entry: Entry) -> str:
    if entry["value"] is None:
        return f"undefined: {entry['reason']}"
    if entry["low"] is None:
        return number(entry["value"])
    return f"{number(entry['value'])} ({number(entry['low'])}–{number(entry['high'])})"


def comparison_text(found: list[Comparison], experiment: str, split: str) -> str:
    """One paragraph per pair, the primary comparison first."""
    head = f"{experiment}, {SPLIT_NAMES[split]}, {found[0].num_patients} patients."
    return "\n".join([head, *(comparison_paragraph(pair) for pair in found)])


def comparison_paragraph(pair: Comparison) -> str:
    kind = "Primary comparison" if pair.is_primary else "Further comparison, p adjusted by Holm"
    accuracy = f"{number(pair.accuracy_difference)} (McNemar p {format_p_value(pair.accuracy_p_value)})"
    return (
        f"\n{kind}: {pair.first} versus {pair.second}\n  {pair.describe()}\n"
        f"  AUROC p {format_p_value(pair.adjusted_p_value)}; difference of accuracies {accuracy}."
    )


def external_table(evaluation: Evaluation, cohort: str) -> Table:
    """One row per headline metric: unchanged, and after the intercept was refitted if that changes it."""
    split, level = evaluation.headline
    entries = evaluation.metrics[split][level]
    table = Table(title=f"{cohort}, by {level}: value (interval)", title_justify="left", box=SIMPLE)
    for name in ("Metric", "Unchanged", "Intercept refitted"):
        table.add_column(name)
    for name in EXTERNAL_METRICS:
        if name in entries:
            refitted = entries.get(f"{RECALIBRATED}{name}")
            table.add_row(
                metric_title(name), format_entry(entries[name]), format_entry(refitted) if refitted else "the same"
            )
    return table
