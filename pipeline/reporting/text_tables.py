"""Tables for the terminal: results, comparisons, a run on another cohort."""

from collections.abc import Mapping
from pathlib import Path

from rich.box import SIMPLE
from rich.table import Table

from pipeline import config
from pipeline.evaluation.comparison import Comparison
from pipeline.evaluation.evaluate import PATIENT, SCAN, Evaluation
from pipeline.evaluation.outputs import has_values, read_metrics
from pipeline.reporting.labels import SPLIT_NAMES, Entry, metric_name, number

COLUMNS = ("auroc", "accuracy", "majority_floor")


def results_table(metrics_files: Mapping[str, Path], cohort: str, settings: config.Evaluation) -> Table:
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


def comparison_text(found: list[Comparison], experiment: str, split: str) -> str:
    """A paragraph a pair, the primary comparison first."""
    head = f"{experiment}, {SPLIT_NAMES[split]}, {found[0].num_patients} patients."
    return "\n".join([head, *(paragraph(pair) for pair in found)])


def paragraph(pair: Comparison) -> str:
    kind = "Primary comparison" if pair.is_primary else "Further comparison, p adjusted by Holm"
    accuracy = f"{number(pair.accuracy_difference)} (McNemar p {p_words(pair.accuracy_p_value)})"
    return (
        f"\n{kind}: {pair.first} against {pair.second}\n  {pair.in_words()}\n"
        f"  AUROC p {p_words(pair.adjusted_p_value)}; difference of accuracies {accuracy}."
    )


def p_words(p_value: float | None) -> str:
    if p_value is None:
        return number(None)
    return "< 0.001" if p_value < 0.001 else number(p_value)


SHOWN = ("auroc", "sensitivity", "specificity", "brier_score", "calibration_slope", "calibration_intercept")
RECALIBRATED = "recalibrated_"


def external_table(evaluation: Evaluation, cohort: str) -> Table:
    """A row a figure of the headline: as it is, and with the intercept alone fitted anew where that changes it."""
    split, level = evaluation.headline
    entries = evaluation.metrics[split][level]
    table = Table(title=f"{cohort}, by {level}: value (interval)", title_justify="left", box=SIMPLE)
    for name in ("Figure", "As it is", "Intercept fitted anew"):
        table.add_column(name)
    for name in SHOWN:
        if name in entries:
            again = entries.get(f"{RECALIBRATED}{name}")
            table.add_row(metric_name(name), cell(entries[name]), cell(again) if again else "the same")
    return table
