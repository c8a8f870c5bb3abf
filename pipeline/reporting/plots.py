"""The figures of a report as SVG text, drawn from plot tables; the same table gives the same text."""

from collections.abc import Callable
from io import StringIO

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.core.paths import TrainingKey

INK, MUTED, GRID = "#1b2733", "#5d6b79", "#dfe5ea"
COLORS = ("#0b6e99", "#c4572b", "#4b7f52", "#7a5195", "#b8860b", "#444444")
"""Distinguishable with red-green blindness, and in print by lightness."""
SQUARE = (4.2, 3.7)
MAX_LETTERS = 24
"""Longer names of classes are cut in figures."""
STYLE = {
    "svg.fonttype": "none",  # keeps text as text, which can be searched, read aloud and resized
    "svg.hashsalt": "report",
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 10,
    "text.parse_math": False,  # a class may be called $x$
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": matplotlib.cycler(color=COLORS),
    "legend.frameon": False,
}


def draw(paint: Callable[..., None], size: tuple[float, float] = SQUARE, panels: int = 1) -> str:
    """An `<svg>` element; `paint` draws on one axes per panel."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        all_axes = figure.subplots(1, panels, squeeze=False)[0]
        for axes in all_axes:
            axes.grid(color=GRID, linewidth=0.8)
            axes.set_axisbelow(True)
        paint(*all_axes)
        text = StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def roc_figure(roc: pd.DataFrame) -> str:
    """Sensitivity over the false positive rate, one line per class and fold."""

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1)
        axes.annotate("chance", (0.62, 0.58), color=MUTED, rotation=41, fontsize=9)
        draw_curves(axes, roc, "false_positive_rate", "sensitivity")
        axes.set(xlabel="1 − specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))

    return draw(paint)


def precision_recall_figure(table: pd.DataFrame, prevalence: float | None) -> str:
    """Precision over recall, with the prevalence as the precision of chance."""

    def paint(axes: Axes) -> None:
        if prevalence is not None:
            axes.axhline(prevalence, color=MUTED, linestyle=":", linewidth=1)
            axes.annotate("chance", (0.02, prevalence + 0.015), color=MUTED, fontsize=9)
        draw_curves(axes, table, "recall", "precision", drawstyle="steps-pre")
        axes.set(xlabel="recall (sensitivity)", ylabel="precision", xlim=(-0.01, 1.01), ylim=(0, 1.02))

    return draw(paint)


def draw_curves(axes: Axes, table: pd.DataFrame, x: str, y: str, drawstyle: str = "default") -> None:
    classes = table["class"].unique()
    for color, name in zip(np.resize(COLORS, len(classes)), classes, strict=True):
        for number, (_, curve) in enumerate(table[table["class"] == name].groupby("fold")):
            label = legend_name(name) if number == 0 else None
            axes.plot(curve[x], curve[y], color=color, linewidth=1.8, drawstyle=drawstyle, label=label)
    if len(classes) > 1:
        axes.legend(loc="lower right", fontsize=8)


def short(name: str) -> str:
    """The name of a class as it fits beside an axis."""
    return name if len(name) <= MAX_LETTERS else f"{name[: MAX_LETTERS - 1]}…"


def legend_name(name: str) -> str:
    """matplotlib leaves out of a legend what begins with an underscore; a space without width keeps it there."""
    return f"\u200b{short(name)}" if name.startswith("_") else short(name)


def calibration_figure(table: pd.DataFrame, after: pd.DataFrame | None, smooth: pd.DataFrame | None) -> str:
    """Observed share over predicted probability: smooth curves with their bands over bins with intervals.

    The area of a dot shows its number of rows; rings are after calibration. Several classes have a curve each, and no
    dots, which would be of all classes together.
    """
    curves = [] if smooth is None else [(str(name), curve) for name, curve in smooth.groupby("class", sort=False)]

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1)
        for color, (name, curve) in zip(np.resize(COLORS, len(curves)), curves, strict=True):
            axes.fill_between(curve["predicted"], curve["low"], curve["high"], color=color, alpha=0.15, linewidth=0)
            axes.plot(curve["predicted"], curve["observed"], color=color, linewidth=1.8, label=legend_name(name))
        if len(curves) > 1:
            axes.legend(loc="upper left", fontsize=8)
        else:
            draw_bins(axes, table, after)
        axes.set(xlabel="predicted probability", ylabel="observed share", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))

    return draw(paint)


def draw_bins(axes: Axes, table: pd.DataFrame, after: pd.DataFrame | None) -> None:
    axes.vlines(table["predicted"], table["low"], table["high"], color=COLORS[0], linewidth=1, alpha=0.6)
    area = 20 + 130 * table["num_rows"] / table["num_rows"].max()
    axes.scatter(table["predicted"], table["observed"], s=area, color=COLORS[0], zorder=3)
    if after is not None:
        axes.plot(after["predicted"], after["observed"], "o", color=COLORS[1], markerfacecolor="none", zorder=4)


def decision_figure(table: pd.DataFrame) -> str:
    """Net benefit over the threshold probability, with its interval, beside treating all or none."""

    def paint(axes: Axes) -> None:
        axes.axhline(0, color=MUTED, linestyle=":", linewidth=1)
        axes.plot(table["threshold"], table["act_on_everybody"], color=MUTED, linewidth=1.2, label="treat all")
        axes.fill_between(table["threshold"], table["low"], table["high"], color=COLORS[0], alpha=0.15, linewidth=0)
        axes.plot(table["threshold"], table["net_benefit"], color=COLORS[0], linewidth=1.8, label="model")
        top = max(0.05, table[["net_benefit", "high", "act_on_everybody"]].max(axis=None)) * 1.08
        ends = table["threshold"].min(), table["threshold"].max()
        axes.set(xlabel="threshold probability", ylabel="net benefit", xlim=ends, ylim=(-0.35 * top, top))
        axes.legend(loc="upper right", fontsize=8)

    return draw(paint)


def confusion_figure(table: pd.DataFrame, classes: list[str]) -> str:
    """Counts by true and predicted class; the shade shows the share of the true class."""
    counts = pd.crosstab(table["actual"], table["predicted"]).reindex(index=classes, columns=classes, fill_value=0)
    shares = (counts.T / counts.sum(axis=1).replace(0, 1)).T.to_numpy()

    def paint(axes: Axes) -> None:
        axes.grid(False)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.15, aspect="auto")
        for (row, column), share in np.ndenumerate(shares):
            color = "white" if share > 0.6 else INK
            text = f"{counts.iat[row, column]}\n{share:.0%}"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=11 if len(classes) < 5 else 7)
        names = list(map(short, classes))
        axes.set_xticks(range(len(classes)), names, rotation=0 if len(classes) < 5 else 60)
        axes.set_yticks(range(len(classes)), names, rotation=90 if len(classes) < 5 else 0, va="center")
        axes.set(xlabel="predicted", ylabel="true")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)

    return draw(paint)


def scores_figure(scores: pd.DataFrame, threshold: float | None) -> str:
    """One dot per patient: the predicted probability, by true class."""
    classes = list(dict.fromkeys(scores["label"]))

    def paint(axes: Axes) -> None:
        # A fixed pattern of offsets: random ones would change the file each time.
        for row, name in enumerate(classes):
            probs = np.sort(scores.loc[scores["label"] == name, "probability"])
            offsets = 0.32 * (2 * ((np.arange(len(probs)) * 0.618034) % 1) - 1)
            axes.scatter(probs, row + offsets, s=16, alpha=0.65, linewidth=0, color=COLORS[row % len(COLORS)])
        if threshold is not None:
            axes.axvline(threshold, color=INK, linewidth=1, linestyle="--")
            axes.annotate(
                f"threshold {threshold:.2f}",
                (threshold, len(classes) - 0.5),
                fontsize=9,
                ha="center",
                va="bottom",
                annotation_clip=False,
            )
        axes.set_yticks(
            range(len(classes)), [short(name) for name in classes], rotation=90 if len(classes) < 5 else 0, va="center"
        )
        axes.set(xlabel=scores_label(classes), xlim=(-0.02, 1.02), ylim=(-0.5, len(classes) - 0.5))
        axes.grid(False, axis="y")

    return draw(paint)


def scores_label(classes: list[str]) -> str:
    return "probability of the positive class" if len(classes) <= 2 else "probability of the true class"


def history_figure(histories: dict[TrainingKey, pd.DataFrame]) -> str:
    """Losses and validation AUROC over epochs, in one color per training."""

    def paint(losses: Axes, aurocs: Axes) -> None:
        for color, (key, history) in zip(np.resize(COLORS, len(histories)), histories.items(), strict=True):
            dashed = {"color": color, "linestyle": "--"}
            losses.plot(history["epoch"], history["train_loss"], label=f"{key}, training", **dashed)
            losses.plot(history["epoch"], history["val_loss"], label=f"{key}, validation", color=color)
            aurocs.plot(history["epoch"], history["val_auroc"], label=str(key), color=color)
        aurocs.axhline(0.5, color=MUTED, linestyle=":", linewidth=1)
        losses.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
        aurocs.set(xlabel="epoch", ylabel="validation AUROC", ylim=(min(0.4, aurocs.get_ylim()[0]), 1.01))
        losses.legend(fontsize=8)
        aurocs.legend(fontsize=8, loc="lower right")

    return draw(paint, (8.8, 3.2), panels=2)


def forest_figure(rows: list[tuple[str, float, float, float]]) -> str:
    """AUROCs, (name, value, low, high), one below the other, with the line of chance."""

    def paint(axes: Axes) -> None:
        for position, (_, value, low, high) in enumerate(reversed(rows)):
            axes.hlines(position, low, high, color=COLORS[0], linewidth=2)
            axes.plot(value, position, "o", color=COLORS[0], markersize=7)
        axes.axvline(0.5, color=MUTED, linestyle=":", linewidth=1)
        axes.set_yticks(range(len(rows)), [name for name, *_ in reversed(rows)])
        left = min(0.45, *(low for *_, low, _ in rows)) - 0.02
        axes.set(xlabel="AUROC", xlim=(left, 1.01), ylim=(-0.6, len(rows) - 0.4))
        axes.grid(False, axis="y")

    return draw(paint, (8.0, 0.9 + 0.42 * len(rows)))
