"""What a page says about simple predictors: of the tables' columns, or of the image at a glance."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.core.columns import LABEL, PATIENT_ID, SCAN_ID
from pipeline.evaluation.audits.run import OF_CLASS
from pipeline.evaluation.audits.shortcut import USED
from pipeline.reporting.figures import forest_figure
from pipeline.reporting.labels import Statement, number
from pipeline.reporting.page import Drawing
from pipeline.reporting.sections.cohort import Table


@dataclass(frozen=True)
class FloorRow:
    name: str
    columns: str
    value: str
    range: str
    advantage: str
    reason: str


def floor_rows(table: pd.DataFrame | None) -> list[FloorRow]:
    return [] if table is None else [floor_row(row) for row in table.to_dict("records")]


def floor_row(row: dict[str, object]) -> FloorRow:
    return FloorRow(
        name=str(row["name"]),
        columns="" if pd.isna(row["columns"]) else str(row["columns"]),
        value=number(optional(row["auroc"])),
        range=span(row["low"], row["high"]),
        advantage=advantage(row),
        reason="" if pd.isna(row["reason"]) else str(row["reason"]),
    )


def span(low: object, high: object) -> str:
    return "" if pd.isna(low) else f"{number(optional(low))} to {number(optional(high))}"


def advantage(row: dict[str, object]) -> str:
    if pd.isna(row["advantage"]):
        return ""
    return f"{number(optional(row['advantage']))} ({span(row['advantage_low'], row['advantage_high'])})"


def floor_statements(table: pd.DataFrame | None) -> list[Statement]:
    """Cautions that a floor calls for."""
    if table is None:
        return []
    said = []
    for row in table.to_dict("records"):
        if row["name"] == "acquisition" and row["low"] > 0.5:
            reach = f"AUROC {number(row['auroc'])}, {span(row['low'], row['high'])}"
            said.append(
                (
                    "caution",
                    f"How the scans were made predicts the label by itself ({reach}): a shortcut is "
                    "available to the model, and may be used.",
                )
            )
        elif row["low"] > 0.5 and row["advantage_low"] <= 0:
            said.append(
                (
                    "caution",
                    f"The model is not shown to beat a logistic regression on {row['name']}, which reaches an AUROC of "
                    f"{number(row['auroc'])}.",
                )
            )
    return said


@dataclass(frozen=True)
class SubgroupRow:
    covariate: str
    group: str
    num_patients: int
    value: str
    range: str
    p_value: str
    reason: str


@dataclass(frozen=True)
class SubgroupPart:
    note: str
    rows: list[SubgroupRow]


def subgroup_part(table: pd.DataFrame | None) -> SubgroupPart | None:
    """Groups with a figure; those too small for one are counted, not listed."""
    if table is None or table.empty:
        return None
    judged = table[table["auroc"].notna()]
    too_small = len(table) - len(judged)
    note = difference_words(judged) + (f" {too_small} groups have too few patients to judge." if too_small else "")
    return SubgroupPart(note.strip(), [subgroup_row(row) for row in judged.to_dict("records")])


def difference_words(judged: pd.DataFrame) -> str:
    if judged["p_value"].isna().all():
        return ""
    differing = judged.loc[judged["adjusted_p_value"] < 0.05, "covariate"].unique()
    if len(differing):
        return f"The AUROC differs between groups of {', '.join(differing)}."
    return "No evidence that the AUROC differs between kinds of patients, which with few patients says little."


def subgroup_row(row: dict[str, object]) -> SubgroupRow:
    low, high = optional(row["low"]), optional(row["high"])
    return SubgroupRow(
        covariate=str(row["covariate"]),
        group=str(row["group"]),
        num_patients=int(row["num_patients"]),
        value=number(optional(row["auroc"])),
        range="" if low is None else f"{number(low)} to {number(high)}",
        p_value=number(optional(row["adjusted_p_value"])),
        reason="" if pd.isna(row["reason"]) else str(row["reason"]),
    )


def optional(value: object) -> float | None:
    """None for the empty cell of a table."""
    return None if pd.isna(value) else float(value)


Json = dict[str, Any]

QUESTIONS = {
    "shortcut": "Does it read how the scan was made?",
    "chance": "Do labels reach the test set?",
    "simple": "Would something simpler do?",
    "label_quality": "Are labels wrong?",
    "stages": "Where in the network is the signal?",
    "stability": "Do harmless changes change the answer?",
}
MOST_LABELS = 10


@dataclass(frozen=True)
class AuditRow:
    question: str
    tone: str
    """good, caution, bad or unknown."""
    verdict: str
    words: str


@dataclass(frozen=True)
class AuditPart:
    rows: list[AuditRow]
    figures: list[Drawing]
    tables: list[Table]


def audit_part(audits: Json | None, doubtful_labels: pd.DataFrame | None) -> AuditPart | None:
    """None where nothing was audited."""
    if audits is None:
        return None
    shortcuts, stages, changes = (by_class(audits[name]["figures"]) for name in ("shortcut", "stages", "stability"))
    tables = (
        *(shortcut_table(figures, name) for name, figures in shortcuts.items()),
        *(stability_table(figures, name) for name, figures in changes.items()),
        label_table(doubtful_labels),
    )
    return AuditPart(
        rows=[
            AuditRow(QUESTIONS[name], tone(name, audit), audit["verdict"], audit["words"])
            for name, audit in audits.items()
        ],
        figures=[stage_figure(figures, name) for name, figures in stages.items() if figures],
        tables=[table for table in tables if table.rows],
    )


def audit_statements(part: AuditPart | None) -> list[Statement]:
    """What must stand beside the result: findings that put it in question."""
    return [("bad", row.words) for row in part.rows if row.tone == "bad"] if part else []


def tone(name: str, audit: Json) -> str:
    if audit["is_alarm"] is None:
        return "unknown"
    if not audit["is_alarm"]:
        return "good"
    return "bad" if USED in audit["verdict"] or name == "chance" else "caution"


def by_class(figures: Json) -> dict[str, Json]:
    """Figures by what stands behind a title: nothing for two classes, else the class they are about."""
    return {f": {name}": own for name, own in figures[OF_CLASS].items()} if OF_CLASS in figures else {"": figures}


def stage_figure(figures: Json, of_class: str) -> Drawing:
    """AUROC of the probe on each stage, with the head's as a line of its own."""
    rows = [(row["name"], row["auroc"], *bounds(row)) for row in figures["stages"]]
    head = figures["head_auroc"]
    caption = (
        "AUROC of a linear probe on the mean of each stage's map, fitted on other held-out patients, with its "
        "interval; below, the network's own head."
    )
    return Drawing(f"Signal by stage{of_class}", caption, forest_figure([*rows, ("head", head, head, head)]))


def bounds(row: Json) -> tuple[float, float]:
    """The interval, or the value alone where there is none."""
    return (row["auroc"], row["auroc"]) if row["low"] is None else (row["low"], row["high"])


PARTS = {
    "available": "Acquisition alone tells the label (AUROC)",
    "followed": "The answer follows it within classes (rank correlation)",
    "without_body": "The input without the body tells the label (AUROC)",
    "file_size": "The file's size tells the label, which proves nothing by itself (AUROC)",
}


def shortcut_table(figures: Json, of_class: str) -> Table:
    """The three parts; p-values are adjusted over them."""
    rows = [
        [
            words,
            number(part["value"]),
            number(part["adjusted_p_value"]),
            str(part["num_patients"]),
            part["reason"] or "",
        ]
        for name, words in PARTS.items()
        if (part := figures.get(name))
    ]
    fall = figures.get("fall")
    if fall:
        change = f"{number(fall['auroc'])} → {number(fall['auroc_within'])}"
        rows.append(["The model's AUROC among scans made alike", change, number(fall["p_value"]), "", ""])
    return Table(f"Shortcuts: what was found{of_class}.", ["Part", "Value", "p, adjusted", "Patients", "Remark"], rows)


def stability_table(figures: Json, of_class: str) -> Table:
    rows = [
        [row["name"], f"{row['flipped']:.0%}", f"{row['low']:.0%} to {row['high']:.0%}", number(row["mean_shift"])]
        for row in figures.get("changes", [])
    ]
    caption = f"Harmless changes, one scan of each of {figures.get('num_patients')} patients{of_class}."
    columns = ["Change of the scan", "Decisions that flip", "Interval", "Mean shift of the probability"]
    return Table(caption, columns, rows)


def label_table(labels: pd.DataFrame | None) -> Table:
    """The first suspects."""
    suspects = [] if labels is None else labels[labels["is_suspect"].astype(bool)].head(MOST_LABELS).to_dict("records")
    rows = [
        [str(row.get(SCAN_ID, row[PATIENT_ID])), str(row[LABEL]), str(row["suggested"]), number(row["lead"])]
        for row in suspects
    ]
    columns = ["Patient or scan", "Labelled", "Predicted", "Lead of the probability"]
    return Table("Labels to look at first: the prediction stands against them.", columns, rows)
