"""The figures of a run with their captions, each made from a plot table."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd

from pipeline.evaluation.metrics.calibration import EQUAL_WIDTH
from pipeline.evaluation.one_vs_rest import OF_LABEL
from pipeline.reporting import plots
from pipeline.reporting.formatting import SPLIT_NAMES, UNITS
from pipeline.reporting.inputs import RunInputs
from pipeline.reporting.section import Figure


def restrict_to_label(run: RunInputs, label: str) -> RunInputs:
    """The run as if it had only this label."""
    tables = {name: table[table[OF_LABEL] == label] for name, table in run.plots.items()}
    points = run.operating_points and {level: own[label] for level, own in run.operating_points.items()}
    return replace(run, plots=tables, operating_points=points)


def figures_of(run: RunInputs, names: Sequence[str], binning: str) -> list[Figure]:
    """The named figures whose table has rows; with several labels one for each label."""
    if OF_LABEL not in run.plots.get("scores", ()):
        return draw_figures(run, names, binning)
    return [
        replace(figure, title=f"{figure.title}, {label}")
        for label in run.plots["scores"][OF_LABEL].unique()
        for figure in draw_figures(restrict_to_label(run, label), names, binning)
    ]


def draw_figures(run: RunInputs, names: Sequence[str], binning: str) -> list[Figure]:
    return [MAKERS[name](run, binning) for name in names if len(run.plots.get(name, ()))]


def population(run: RunInputs) -> str:
    return f"{SPLIT_NAMES[run.headline_split].capitalize()}, by {UNITS[run.headline_level]}"


def roc(run: RunInputs, _: str) -> Figure:
    table = run.plots["roc"]
    many_folds = "One line per fold, because scores of different folds come from different models."
    note = many_folds if table["fold"].nunique() > 1 else "Dotted: chance."
    return Figure("ROC curve", f"{population(run)}. {note}", plots.roc_figure(table))


def precision_recall(run: RunInputs, _: str) -> Figure:
    svg = plots.precision_recall_figure(run.plots["precision_recall"], positive_share(run))
    return Figure("Precision and recall", f"{population(run)}. Dotted: precision of calling everybody positive.", svg)


def scores(run: RunInputs, _: str) -> Figure:
    caption = (
        f"{population(run)}. One dot for each of the {UNITS[run.headline_level]}; a good model separates the rows."
    )
    return Figure("Scores by true class", caption, plots.scores_figure(run.plots["scores"], headline_threshold(run)))


def headline_threshold(run: RunInputs) -> float | None:
    """The threshold of the headline, None with more than two classes."""
    point = run.operating_points[run.headline_level] if run.operating_points else {}
    return point.get("threshold")


def calibration(run: RunInputs, binning: str) -> Figure:
    """The smooth curve with its band over the bins, or the reason why there is none."""
    after, smooth = table_or_none(run, "calibration_after"), table_or_none(run, "calibration_smooth")
    if smooth is not None and smooth["class"].nunique() > 1:
        line = "One line per class against the rest, each with its pointwise band, by a restricted cubic spline."
        caption = f"{population(run)}. {line} Dotted: perfect calibration."
        return Figure("Calibration", caption, plots.calibration_figure(run.plots["calibration"], None, smooth))
    marks = "Dots as predicted, rings after calibration" if after is not None else "Dots as predicted"
    bins = "of equal width" if binning == EQUAL_WIDTH else "with equally many rows"
    known = smooth.dropna(subset="observed") if smooth is not None else None
    if known is None or known.empty:
        reason = "the table is missing" if smooth is None else smooth["reason"].iloc[0]
        line = f"No smooth curve: {reason}."
    else:
        line = "Line: smooth curve with its pointwise band, by a restricted cubic spline."
    caption = f"{population(run)}. {line} {marks}; ten bins {bins}. Dotted: perfect calibration."
    return Figure("Calibration", caption, plots.calibration_figure(run.plots["calibration"], after, known))


def table_or_none(run: RunInputs, name: str) -> pd.DataFrame | None:
    table = run.plots.get(name)
    return table if table is not None and len(table) else None


def decision_curve(run: RunInputs, _: str) -> Figure:
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
    declared = f"Over the declared range of thresholds, {table['threshold'].min():g} to {table['threshold'].max():g}"
    caption = f"{population(run)}. {declared}. {finding}, without adjustment for the number of thresholds. "
    return Figure(
        "Decision curve", f"{caption}Net benefit is in true positives per patient.", plots.decision_figure(table)
    )


def confusion(run: RunInputs, _: str) -> Figure:
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


MAKERS: dict[str, Callable[[RunInputs, str], Figure]] = {
    "roc": roc,
    "calibration": calibration,
    "decision_curve": decision_curve,
    "scores": scores,
    "precision_recall": precision_recall,
    "confusion": confusion,
}
"""By the name of the plot table; the second argument is the rule of the calibration bins."""
