"""What a page says about the result: headline cards, figures and the tables of all metrics."""

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from pipeline.evaluation.ensembling import PATIENT, SCAN
from pipeline.evaluation.metrics.calibration import EQUAL_WIDTH
from pipeline.evaluation.one_vs_rest import OF_LABEL
from pipeline.reporting.figures import (
    calibration_figure,
    confusion_figure,
    decision_figure,
    precision_recall_figure,
    roc_figure,
    scores_figure,
)
from pipeline.reporting.inputs import RunFacts
from pipeline.reporting.labels import SPLIT_NAMES, Entry, interval, metric_name, number
from pipeline.reporting.page import Drawing
from pipeline.reporting.sections.decision import threshold

UNITS = {PATIENT: "patients", SCAN: "scans"}


@dataclass(frozen=True)
class Card:
    """One headline figure."""

    name: str
    value: str
    range: str
    note: str


@dataclass(frozen=True)
class MetricRow:
    name: str
    value: str
    range: str
    num_patients: int
    reason: str


@dataclass(frozen=True)
class MetricTable:
    title: str
    caption: str
    rows: list[MetricRow]
    is_headline: bool


def cards(headline: dict[str, Entry]) -> list[Card]:
    """The figures a reader looks for first, where they are defined for this number of classes."""
    chosen = {
        "auroc": "chance is 0.5",
        "sensitivity": "",
        "specificity": "",
        "balanced_accuracy": "",
        "accuracy": f"floor {number(headline['majority_floor']['value'])}",
        "brier_score": "0 is perfect",
    }
    return [card(name, headline[name], note) for name, note in chosen.items() if name in headline]


def card(name: str, entry: Entry, note: str) -> Card:
    said = ", ".join(part for part in (f"{entry['num_patients']} patients", note) if part)
    if entry["value"] is None:
        return Card(metric_name(name), "undefined", entry["reason"], said)
    return Card(metric_name(name), number(entry["value"]), interval(entry), said)


def result_figures(run: RunFacts, binning: str) -> list[Drawing]:
    """Each figure of which the table is there, of each label where a scan has several.

    `binning` is that of the calibration curve.
    """
    if OF_LABEL not in run.plots.get("scores", ()):
        return figures_of(run, binning)
    return [
        replace(drawing, title=f"{drawing.title}, {label}")
        for label in run.plots["scores"][OF_LABEL].unique()
        for drawing in figures_of(about_label(run, label), binning)
    ]


def about_label(run: RunFacts, label: str) -> RunFacts:
    """The run as if this label were all."""
    plots = {name: table[table[OF_LABEL] == label] for name, table in run.plots.items()}
    points = run.operating_points and {level: own[label] for level, own in run.operating_points.items()}
    return replace(run, plots=plots, operating_points=points)


def figures_of(run: RunFacts, binning: str) -> list[Drawing]:
    plots, level = run.plots, UNITS[run.headline_level]
    where = f"{SPLIT_NAMES[run.headline_split].capitalize()}, by {level}"
    drawings = []
    if "roc" in plots and len(plots["roc"]):
        drawings.append(Drawing("ROC curve", f"{where}. {curve_words(plots['roc'])}", roc_figure(plots["roc"])))
    if "precision_recall" in plots and len(plots["precision_recall"]):
        caption = f"{where}. Dotted: precision of calling everybody positive."
        drawings.append(
            Drawing(
                "Precision and recall", caption, precision_recall_figure(plots["precision_recall"], positive_share(run))
            )
        )
    if "scores" in plots:
        caption = f"{where}. A dot is one of the {level}; a good model separates the rows."
        drawings.append(Drawing("Scores by true class", caption, scores_figure(plots["scores"], threshold(run))))
    if "calibration" in plots and len(plots["calibration"]):
        drawings.append(calibration_drawing(plots, where, binning))
    if "decision_curve" in plots and len(plots["decision_curve"]):
        drawings.append(decision_drawing(plots["decision_curve"], where))
    if "confusion" in plots and len(plots["confusion"]):
        caption = f"{where}, at the threshold frozen on validation. Percentages are of the true class."
        drawings.append(Drawing("Confusion", caption, confusion_figure(plots["confusion"], class_order(run))))
    return drawings


def calibration_drawing(plots: dict[str, pd.DataFrame], where: str, binning: str) -> Drawing:
    after = plots.get("calibration_after")
    shown = after if after is not None and len(after) else None
    which = "Dots as predicted, rings after calibration" if shown is not None else "As predicted"
    bins = "of equal width" if binning == EQUAL_WIDTH else "with equally many rows"
    caption = f"{where}. {which}; ten bins {bins}. On the dotted line probabilities mean what they say."
    return Drawing("Calibration", caption, calibration_figure(plots["calibration"], shown))


def decision_drawing(table: pd.DataFrame, where: str) -> Drawing:
    """In words too: where acting on the model pays."""
    best_else = table["act_on_everybody"].clip(lower=0)
    useful = table.loc[table["low"] > best_else, "threshold"]
    if useful.empty:
        words = "At no threshold is the model shown to beat acting on everybody or on nobody"
    else:
        words = (
            f"Shown to beat acting on everybody and on nobody at {len(useful)} of {len(table)} thresholds, "
            f"between {useful.min():g} and {useful.max():g}"
        )
    caption = f"{where}. {words}, looking at each threshold alone. Net benefit is in true positives a patient."
    return Drawing("Decision curve", caption, decision_figure(table))


def curve_words(roc: Any) -> str:
    if roc["fold"].nunique() > 1:
        return "A line a fold: scores of different folds come from different models."
    return "Dotted: a model that guesses."


def class_order(run: RunFacts) -> list[str]:
    """Classes as ordered in the scores, which follow the order of the classes; then any that is only ever called."""
    seen = list(dict.fromkeys(run.plots["scores"]["label"])) if "scores" in run.plots else []
    confusion = run.plots["confusion"]
    others = sorted({*confusion["actual"], *confusion["predicted"]} - set(seen))
    return [str(name) for name in [*seen, *others]]


def positive_share(run: RunFacts) -> float | None:
    """Share of the positive class of two: the precision of chance."""
    if "scores" not in run.plots or run.plots["scores"]["label"].nunique() != 2:
        return None
    return float((run.plots["scores"]["label"] == class_order(run)[-1]).mean())


def metric_tables(run: RunFacts) -> list[MetricTable]:
    """Headline first; the others folded away."""
    tables = []
    for split in ("test", "val", "train"):
        for level in (PATIENT, SCAN):
            if split in run.metrics:
                is_headline = (split, level) == (run.headline_split, run.headline_level)
                title = f"{SPLIT_NAMES[split].capitalize()}, by {level}"
                rows = [metric_row(name, entry) for name, entry in run.metrics[split][level].items()]
                tables.append(MetricTable(title, table_caption(split, level), rows, is_headline))
    return sorted(tables, key=lambda table: not table.is_headline)


def table_caption(split: str, level: str) -> str:
    caption = f"Figures over {UNITS[level]}; intervals by patient throughout."
    return caption if split == "test" else f"{caption} Epoch and threshold were chosen on validation: flattering."


def metric_row(name: str, entry: Entry) -> MetricRow:
    shown = "" if entry["low"] is None else interval(entry)
    value = "undefined" if entry["value"] is None else number(entry["value"])
    return MetricRow(metric_name(name), value, shown, entry["num_patients"], entry["reason"] or "")
