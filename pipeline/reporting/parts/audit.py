"""What a page says about audits: verdicts first, the figures behind them after."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.core.columns import LABEL, PATIENT_ID, SCAN_ID
from pipeline.evaluation.audits.run import OF_CLASS
from pipeline.evaluation.audits.shortcut import USED
from pipeline.reporting.page import Drawing
from pipeline.reporting.parts.cohort import Table
from pipeline.reporting.pictures.figures import forest_figure
from pipeline.reporting.wording import Statement, number

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
