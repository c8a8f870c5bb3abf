"""The table that a terminal shows when everything has run."""

from collections.abc import Mapping
from pathlib import Path

from rich.box import SIMPLE
from rich.table import Table

from pipeline.config import Evaluation
from pipeline.evaluation.evaluate import PATIENT, SCAN
from pipeline.evaluation.outputs import has_values, read_metrics
from pipeline.reporting.wording import Entry, number

COLUMNS = ("auroc", "accuracy", "majority_floor")


def results_table(metrics_files: Mapping[str, Path], cohort: str, settings: Evaluation) -> Table:
    """A row an experiment and split, per patient where there is that level; 80 characters wide."""
    table = Table(title=f"{cohort}: value ({settings.confidence:.0%} interval)", title_justify="left", box=SIMPLE)
    for name in ("Experiment", "Split", "Patients", "AUROC", "Accuracy", "Its floor"):
        table.add_column(name)
    for experiment, path in metrics_files.items():
        for split, levels in read_metrics(path).items():
            entries = levels[PATIENT if has_values(levels[PATIENT]) else SCAN]
            cells = (cell(entries[name]) for name in COLUMNS)
            table.add_row(experiment, split, str(entries["auroc"]["num_patients"]), *cells)
    return table


def cell(entry: Entry) -> str:
    if entry["value"] is None:
        return f"undefined: {entry['reason']}"
    if entry["low"] is None:
        return number(entry["value"])
    return f"{number(entry['value'])} ({number(entry['low'])}–{number(entry['high'])})"
