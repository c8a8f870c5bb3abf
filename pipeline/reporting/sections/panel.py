"""The headline panel as evaluate wrote it, with its figures, the case mix and the flow; then further figures."""

from dataclasses import dataclass

import pandas as pd

from pipeline.evaluation.case_mix import IMBALANCE
from pipeline.evaluation.metrics import metric_title
from pipeline.evaluation.registry import WITHOUT_TWINS
from pipeline.reporting.figures import figures_of
from pipeline.reporting.formatting import number, optional, span
from pipeline.reporting.inputs import ReportInputs, RunInputs
from pipeline.reporting.section import SECTIONS, Figure, Table

IN_PANEL, FURTHER = ("roc", "calibration", "decision_curve", "scores"), ("precision_recall", "confusion")
EACH_CLASS = "Each class"
FIGURES_TEMPLATE = """<div class="figures">{% for item in content %}{{ figure(item) }}{% endfor %}</div>"""
PANEL_TEMPLATE = """
{% set drawn %}
<div class="figures large">{% for item in content.figures %}{{ figure(item) }}{% endfor %}</div>
{% endset %}
{% if content.figures|length <= 4 %}{{ drawn }}{% endif %}
<div class="scroll"><table>
<caption>The figures to read first, with {{ confidence }} intervals clustered by patient.</caption>
<thead><tr><th scope="col">Figure</th><th scope="col" class="num">At</th><th scope="col" class="num">Value</th>
<th scope="col" class="num">Interval</th>
{% if content.is_calibrated %}<th scope="col" class="num">Calibrated</th>{% endif %}
<th scope="col" class="num">Patients</th><th scope="col">How to read it</th></tr></thead>
{% for group, rows in content.groups %}
<tbody><tr><th scope="rowgroup" colspan="{{ 7 if content.is_calibrated else 6 }}" class="group">{{ group }}</th></tr>
{% for row in rows %}
<tr><th scope="row">{{ row.title }}</th><td class="num">{{ row.at }}</td><td class="num">{{ row.value }}</td>
<td class="num">{{ row.range }}</td>{% if content.is_calibrated %}<td class="num">{{ row.calibrated }}</td>{% endif %}
<td class="num">{{ row.num_patients }}</td><td class="muted">{{ row.note }}</td></tr>
{% endfor %}</tbody>
{% endfor %}
</table></div>
{% if content.classes %}{{ plain_table(content.classes) }}{% endif %}
{% if content.figures|length > 4 %}<details><summary>Figures of each label</summary>{{ drawn }}</details>{% endif %}
{% for table in content.patients %}<details><summary>{{ table.title }}</summary>{{ plain_table(table.table) }}</details>
{% endfor %}
"""


@dataclass(frozen=True)
class PanelRow:
    title: str
    at: str
    value: str
    range: str
    calibrated: str
    """After calibration, empty without one."""
    num_patients: str
    note: str
    """What to compare with, or the reason why something is missing."""


@dataclass(frozen=True)
class FoldedTable:
    title: str
    table: Table


@dataclass(frozen=True)
class Panel:
    figures: list[Figure]
    groups: list[tuple[str, list[PanelRow]]]
    is_calibrated: bool
    classes: Table | None
    """Of several classes or labels."""
    patients: list[FoldedTable]


@SECTIONS.register(
    "panel",
    title="Headline panel",
    template=PANEL_TEMPLATE,
    missing="the headline panel; 'python -m pipeline.evaluate' writes it.",
)
def read_panel(inputs: ReportInputs) -> Panel | None:
    run = inputs.run
    if run.panel is None:
        return None
    rows = run.panel[run.panel["group"] != EACH_CLASS]
    groups = [(str(group), [panel_row(row) for row in part.to_dict("records")]) for group, part in by_group(rows)]
    folded = [("Case mix of the split", case_mix_table(run)), ("Participant flow", flow_table(run))]
    return Panel(
        figures=figures_of(run, IN_PANEL, inputs.config.evaluation.calibration_bins),
        groups=groups,
        is_calibrated=bool(rows["calibrated_value"].notna().any()),
        classes=class_table(run.panel[run.panel["group"] == EACH_CLASS]),
        patients=[FoldedTable(title, table) for title, table in folded if table is not None],
    )


def by_group(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """In the order of the table."""
    return [(str(name), part) for name, part in rows.groupby("group", sort=False)]


def panel_row(row: dict[str, object]) -> PanelRow:
    at, value, after = optional(row["at"]), optional(row["value"]), optional(row["calibrated_value"])
    # The name of the group says which patients are left.
    title = metric_title(str(row["metric"]).removeprefix(WITHOUT_TWINS))
    texts = [str(row[name]).replace(" -", " −") for name in ("note", "reason") if not pd.isna(row[name])]
    return PanelRow(
        title=f"{title}, {row['class']}" if row["class"] else title,
        at="" if at is None else f"{at:.3g}",
        value=number(value),
        range=span(row["low"], row["high"]),
        calibrated="" if after is None else f"{number(after)} ({span(row['calibrated_low'], row['calibrated_high'])})",
        num_patients="" if value is None else f"{int(row['num_patients'])}",
        note="; ".join(texts),
    )


def class_table(rows: pd.DataFrame) -> Table | None:
    """One row per metric, one column per class."""
    if rows.empty:
        return None
    classes = list(dict.fromkeys(rows["class"]))
    cells = [
        [metric_title(str(metric)), *(class_cell(part[part["class"] == name]) for name in classes)]
        for metric, part in rows.groupby("metric", sort=False)
    ]
    return Table("Each class or label against the rest: value and interval.", ["Figure", *classes], cells)


def class_cell(found: pd.DataFrame) -> str:
    if found.empty or pd.isna(found["value"].iloc[0]):
        return number(None)
    row, bounds = found.iloc[0], span(found["low"].iloc[0], found["high"].iloc[0])
    return number(row["value"]) + (f" ({bounds})" if bounds else "")


def case_mix_table(run: RunInputs) -> Table | None:
    """A row per covariate or category, a column per part of the split."""
    table = run.case_mix
    if table is None:
        return None
    splits = sorted(table["split"].unique())
    rows = []
    for (covariate, category), part in table.groupby(["covariate", "category"], sort=False):
        known = {row["split"]: row for row in part.to_dict("records")}
        difference = optional(part["difference"].max())
        mark = " △" if difference is not None and difference >= IMBALANCE else ""
        name = f"{covariate}: {category}" if category != "" else str(covariate)
        rows.append([name, *(case_mix_cell(known.get(split)) for split in splits), f"{number(difference, 2)}{mark}"])
    caption = (
        "Median and quartiles, or share of the known values, from the first scan of each patient. The last column is "
        f"the standardized difference of test from development; △ marks {IMBALANCE:g} and more."
    )
    return Table(caption, ["Covariate", *splits, "Difference"], rows)


def case_mix_cell(row: dict[str, object] | None) -> str:
    value = None if row is None else optional(row["value"])
    if row is None or value is None:
        return number(None)
    if pd.isna(row["low_quartile"]):
        return f"{value:.0%} of {row['num_patients']}"
    return f"{value:.4g} ({row['low_quartile']:.4g} to {row['high_quartile']:.4g})"


def flow_table(run: RunInputs) -> Table | None:
    if run.participant_flow is None:
        return None
    rows = [
        [
            str(row["step"]),
            "" if pd.isna(row["split"]) else str(row["split"]),
            f"{row['scans']:,}",
            f"{row['patients']:,}",
        ]
        for row in run.participant_flow.to_dict("records")
    ]
    return Table("From the label table to the evaluated scans.", ["Step", "Part", "Scans", "Patients"], rows)


@SECTIONS.register(
    "figures",
    title="Further figures",
    template=FIGURES_TEMPLATE,
    missing="the plot tables; 'python -m pipeline.evaluate' writes them.",
)
def read_figures(inputs: ReportInputs) -> list[Figure] | None:
    return figures_of(inputs.run, FURTHER, inputs.config.evaluation.calibration_bins) or None
