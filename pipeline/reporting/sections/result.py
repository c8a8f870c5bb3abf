"""Sections on the result: the headline metrics with what they show, and the figures."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd

from pipeline.core.columns import TEST
from pipeline.evaluation.ensembling import PATIENT, SCAN
from pipeline.evaluation.metrics import metric_title
from pipeline.evaluation.metrics.calibration import EQUAL_WIDTH
from pipeline.evaluation.one_vs_rest import OF_LABEL
from pipeline.reporting import plots
from pipeline.reporting.findings import (
    audit_statements,
    baseline_statements,
    first_look_statements,
    headline_statements,
    leak_statements,
)
from pipeline.reporting.formatting import SPLIT_NAMES, Entry, interval, number
from pipeline.reporting.inputs import ReportInputs, RunInputs
from pipeline.reporting.section import SECTIONS, Figure, Statement

UNITS = {PATIENT: "patients", SCAN: "scans"}
HEADLINE_TEMPLATE = """
<p>{{ content.summary }}</p>
<div class="cards">
{% for card in content.cards %}
  <div class="card{% if loop.first %} main{% endif %}">
    <div class="name">{{ card.name }}</div><div class="value">{{ card.value }}</div>
    <div class="range">{{ card.range }}</div><div class="note">{{ card.note }}</div>
  </div>
{% endfor %}
</div>
{{ statements(content.statements) }}
"""
FIGURES_TEMPLATE = """<div class="figures">{% for item in content %}{{ figure(item) }}{% endfor %}</div>"""


@dataclass(frozen=True)
class Card:
    """One headline metric."""

    name: str
    value: str
    range: str
    note: str


@dataclass(frozen=True)
class Headline:
    summary: str
    cards: list[Card]
    statements: list[Statement]


@SECTIONS.register("result", title="Result", template=HEADLINE_TEMPLATE)
def read_headline(inputs: ReportInputs) -> Headline:
    run = inputs.run
    found = headline_statements(run.headline, run.headline_split, inputs.config.evaluation.confidence)
    found = [*first_look_statements({key.fold for key in run.histories}, inputs.cohort.num_folds), *found]
    findings = [*audit_statements(run.audits), *found, *baseline_statements(run.baselines)]
    return Headline(summary(run), cards(run.headline), findings + leak_statements(inputs.cohort.leakage))


def summary(run: RunInputs) -> str:
    """Which patients the headline is about."""
    text = f"Evaluated on the {SPLIT_NAMES[run.headline_split]}, one decision per {run.headline_level}"
    if "scores" not in run.plots or OF_LABEL in run.plots["scores"]:
        return f"{text}."
    counts = run.plots["scores"]["label"].value_counts(sort=False)
    classes = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"{text}: {counts.sum()} {UNITS[run.headline_level]}, {classes}.{format_test_evaluations(run)}"


def format_test_evaluations(run: RunInputs) -> str:
    """How often this test set was evaluated, by any experiment."""
    if run.headline_split != TEST or run.num_test_evaluations < 2:
        return ""
    return f" Over all experiments, {run.num_test_evaluations} sets of predictions of this test set were evaluated."


def cards(headline: dict[str, Entry]) -> list[Card]:
    """The metrics that readers look for first, if they are defined for this number of classes."""
    notes = {
        "auroc": "chance is 0.5",
        "sensitivity": "",
        "specificity": "",
        "balanced_accuracy": "",
        "accuracy": f"baseline {number(headline['majority_baseline']['value'])}",
        "brier_score": "0 is perfect",
    }
    return [card(name, headline[name], note) for name, note in notes.items() if name in headline]


def card(name: str, entry: Entry, note: str) -> Card:
    notes = ", ".join(part for part in (f"{entry['num_patients']} patients", note) if part)
    if entry["value"] is None:
        return Card(metric_title(name), "undefined", entry["reason"], notes)
    return Card(metric_title(name), number(entry["value"]), interval(entry), notes)


@SECTIONS.register(
    "figures",
    title="Figures",
    template=FIGURES_TEMPLATE,
    missing="the plot tables; 'python -m pipeline.evaluate' writes them.",
)
def read_figures(inputs: ReportInputs) -> list[Figure] | None:
    """A figure for each plot table, and with several labels one for each label."""
    run, binning = inputs.run, inputs.config.evaluation.calibration_bins
    if OF_LABEL not in run.plots.get("scores", ()):
        return figures_of(run, binning) or None
    return [
        replace(figure, title=f"{figure.title}, {label}")
        for label in run.plots["scores"][OF_LABEL].unique()
        for figure in figures_of(restrict_to_label(run, label), binning)
    ]


def restrict_to_label(run: RunInputs, label: str) -> RunInputs:
    """The run as if it had only this label."""
    tables = {name: table[table[OF_LABEL] == label] for name, table in run.plots.items()}
    points = run.operating_points and {level: own[label] for level, own in run.operating_points.items()}
    return replace(run, plots=tables, operating_points=points)


def figures_of(run: RunInputs, binning: str) -> list[Figure]:
    makers: dict[str, Callable[[], Figure]] = {
        "roc": lambda: roc(run),
        "precision_recall": lambda: precision_recall(run),
        "scores": lambda: scores(run),
        "calibration": lambda: calibration(run, binning),
        "decision_curve": lambda: decision_curve(run),
        "confusion": lambda: confusion(run),
    }
    return [make() for name, make in makers.items() if name in run.plots and len(run.plots[name])]


def population(run: RunInputs) -> str:
    return f"{SPLIT_NAMES[run.headline_split].capitalize()}, by {UNITS[run.headline_level]}"


def roc(run: RunInputs) -> Figure:
    table = run.plots["roc"]
    many_folds = "One line per fold, because scores of different folds come from different models."
    note = many_folds if table["fold"].nunique() > 1 else "Dotted: chance."
    return Figure("ROC curve", f"{population(run)}. {note}", plots.roc_figure(table))


def precision_recall(run: RunInputs) -> Figure:
    svg = plots.precision_recall_figure(run.plots["precision_recall"], positive_share(run))
    return Figure("Precision and recall", f"{population(run)}. Dotted: precision of calling everybody positive.", svg)


def scores(run: RunInputs) -> Figure:
    caption = (
        f"{population(run)}. One dot for each of the {UNITS[run.headline_level]}; a good model separates the rows."
    )
    return Figure("Scores by true class", caption, plots.scores_figure(run.plots["scores"], headline_threshold(run)))


def headline_threshold(run: RunInputs) -> float | None:
    """The threshold of the headline, None with more than two classes."""
    point = run.operating_points[run.headline_level] if run.operating_points else {}
    return point.get("threshold")


def calibration(run: RunInputs, binning: str) -> Figure:
    after = run.plots.get("calibration_after")
    shown = after if after is not None and len(after) else None
    marks = "Dots as predicted, rings after calibration" if shown is not None else "As predicted"
    bins = "of equal width" if binning == EQUAL_WIDTH else "with equally many rows"
    caption = f"{population(run)}. {marks}; ten bins {bins}. Dotted: perfect calibration."
    return Figure("Calibration", caption, plots.calibration_figure(run.plots["calibration"], shown))


def decision_curve(run: RunInputs) -> Figure:
    """The caption says at which thresholds acting on the model has the highest net benefit."""
    table = run.plots["decision_curve"]
    useful = table.loc[table["low"] > table["act_on_everybody"].clip(lower=0), "threshold"]
    if useful.empty:
        finding = "At no threshold is the model shown to beat treating all or none"
    else:
        finding = (
            f"Shown to beat treating all and none at {len(useful)} of {len(table)} thresholds, "
            f"between {useful.min():g} and {useful.max():g}"
        )
    caption = f"{population(run)}. {finding}, without adjustment for the number of thresholds. "
    return Figure(
        "Decision curve", f"{caption}Net benefit is in true positives per patient.", plots.decision_figure(table)
    )


def confusion(run: RunInputs) -> Figure:
    caption = f"{population(run)}, at the threshold frozen on validation. Percentages are of the true class."
    return Figure("Confusion matrix", caption, plots.confusion_figure(run.plots["confusion"], class_order(run)))


def class_order(run: RunInputs) -> list[str]:
    """The order of the scores, which is that of the classes; then classes that are only predicted."""
    seen = list(dict.fromkeys(run.plots["scores"]["label"])) if "scores" in run.plots else []
    table: pd.DataFrame = run.plots["confusion"]
    others = sorted({*table["actual"], *table["predicted"]} - set(seen))
    return [str(name) for name in [*seen, *others]]


def positive_share(run: RunInputs) -> float | None:
    """Share of the positive class of two, which is the precision of chance."""
    if "scores" not in run.plots or run.plots["scores"]["label"].nunique() != 2:
        return None
    return float((run.plots["scores"]["label"] == class_order(run)[-1]).mean())
