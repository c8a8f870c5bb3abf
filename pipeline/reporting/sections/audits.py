"""The section of audits: verdicts, the signal of each stage, shortcuts, stability and doubtful labels."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.core.columns import LABEL, PATIENT_ID, SCAN_ID
from pipeline.evaluation.audits.run import OF_CLASS
from pipeline.reporting.findings import severity_of
from pipeline.reporting.formatting import number, span
from pipeline.reporting.inputs import ReportInputs
from pipeline.reporting.plots import forest_figure
from pipeline.reporting.section import SECTIONS, Figure, Table

Json = dict[str, Any]
QUESTIONS = {
    "shortcut": "Does the model use how the scan was acquired?",
    "chance": "Do labels leak into the test set?",
    "simple": "Would a simpler model do?",
    "label_quality": "Which labels may be wrong?",
    "stages": "Which stage of the network has the signal?",
    "stability": "Do harmless changes change the prediction?",
}
SHORTCUT_PARTS = {
    "available": "Acquisition alone predicts the label (AUROC)",
    "followed": "The prediction depends on it within classes, beyond stated severity (correlation)",
    "followed_unadjusted": "The same without regard to severity (correlation)",
    "without_body": "The image without the body predicts the label (AUROC)",
    "file_size": "The file size predicts the label, which alone proves nothing (AUROC)",
}
MAX_LABELS = 10
TEMPLATE = """
<p>Is the model right for the right reasons? Each audit raises a false alarm in fewer than one of twenty clean
experiments; none can prove that nothing is wrong. Labels are ranked, without an alarm.</p>
<ul class="statements">
{% for row in content.rows %}
  <li class="{{ row.severity }}"><b>{{ row.question }} {{ row.verdict | capitalize }}.</b>{{ row.summary }}</li>
{% endfor %}
</ul>
{% for item in content.figures %}<div class="wide">{{ figure(item) }}</div>{% endfor %}
{% for table in content.tables %}{{ plain_table(table) }}{% endfor %}
"""


@dataclass(frozen=True)
class AuditRow:
    question: str
    severity: str
    """good, caution, bad or unknown."""
    verdict: str
    summary: str


@dataclass(frozen=True)
class AuditResults:
    rows: list[AuditRow]
    figures: list[Figure]
    tables: list[Table]


@SECTIONS.register(
    "audits", title="Audits", template=TEMPLATE, missing="audits; 'python -m pipeline.audit' makes them."
)
def read_audits(inputs: ReportInputs) -> AuditResults | None:
    audits = inputs.run.audits
    if audits is None:
        return None
    shortcuts, stages, changes = (by_class(audits[name]["metrics"]) for name in ("shortcut", "stages", "stability"))
    tables = (
        *(shortcut_table(metrics, name) for name, metrics in shortcuts.items()),
        *(stability_table(metrics, name) for name, metrics in changes.items()),
        label_table(inputs.run.doubtful_labels),
    )
    return AuditResults(
        rows=[
            AuditRow(QUESTIONS[name], severity_of(name, audit), audit["verdict"], audit["summary"])
            for name, audit in audits.items()
        ],
        figures=[stage_figure(metrics, name) for name, metrics in stages.items() if metrics],
        tables=[table for table in tables if table.rows],
    )


def by_class(metrics: Json) -> dict[str, Json]:
    """Metrics by what is appended to a title: nothing with two classes, else the class."""
    return {f": {name}": own for name, own in metrics[OF_CLASS].items()} if OF_CLASS in metrics else {"": metrics}


def stage_figure(metrics: Json, of_class: str) -> Figure:
    """AUROC of the probe on each stage, and of the network's head."""
    rows = [(row["name"], row["auroc"], *bounds(row)) for row in metrics["stages"]]
    head = metrics["head_auroc"]
    caption = (
        "AUROC of a linear probe on the mean of each stage's map, fitted on other held-out patients, with its "
        "interval; below, the network's own head."
    )
    return Figure(f"Signal by stage{of_class}", caption, forest_figure([*rows, ("head", head, head, head)]))


def bounds(row: Json) -> tuple[float, float]:
    """The interval, or without one the value itself."""
    return (row["auroc"], row["auroc"]) if row["low"] is None else (row["low"], row["high"])


def shortcut_table(metrics: Json, of_class: str) -> Table:
    """The tests of the audit, with p-values adjusted for their number."""
    rows = [[title, *shortcut_cells(test)] for name, title in SHORTCUT_PARTS.items() if (test := metrics.get(name))]
    rows += auroc_rows(metrics["auroc_by_kind"]) if metrics.get("auroc_by_kind") else []
    rows += [
        [
            f"Shift of the logit, scan acquired again: {row['name']} (SD)",
            f"{row['shift']:+.2f}",
            span(row["low"], row["high"]),
        ]
        + [number(row["adjusted_p_value"]), str(row["num_patients"]), ""]
        for row in metrics.get("reacquired", [])
    ]
    return Table(f"Shortcuts{of_class}.", ["Test", "Value", "95 %", "p, adjusted", "Patients", "Remark"], rows)


def shortcut_cells(test: Json) -> list[str]:
    p_value = test["p_value"] if test["adjusted_p_value"] is None else test["adjusted_p_value"]
    return [
        number(test["value"]),
        span(test["low"], test["high"]),
        number(p_value),
        str(test["num_patients"]),
        test["reason"] or "",
    ]


def auroc_rows(found: Json) -> list[list[str]]:
    """AUROC over all pairs, within kinds of acquisition, and where these share prevalence."""
    return [
        ["AUROC of the model", number(found["auroc"]), "", "", "", ""],
        ["AUROC among scans of the same acquisition", number(found["auroc_within"]), "", "", "", ""],
        ["AUROC if all acquisitions had one prevalence", number(found["auroc_shared"]), "", "", "", ""],
        [
            "What acquisition adds to the AUROC",
            number(found["difference"]),
            span(found["low"], found["high"]),
            "",
            "",
            "",
        ],
    ]


def stability_table(metrics: Json, of_class: str) -> Table:
    rows = [
        [row["name"], f"{row['flipped']:.0%}", f"{row['low']:.0%} to {row['high']:.0%}", number(row["mean_shift"])]
        for row in metrics.get("changes", [])
    ]
    caption = f"Harmless changes to one scan of each of {metrics.get('num_patients')} patients{of_class}."
    columns = ["Change of the scan", "Predictions that change", "Interval", "Mean shift of the probability"]
    return Table(caption, columns, rows)


def label_table(labels: pd.DataFrame | None) -> Table:
    """The most doubtful labels."""
    suspects = [] if labels is None else labels[labels["is_suspect"].astype(bool)].head(MAX_LABELS).to_dict("records")
    rows = [
        [str(row.get(SCAN_ID, row[PATIENT_ID])), str(row[LABEL]), str(row["suggested"]), number(row["lead"])]
        for row in suspects
    ]
    columns = ["Patient or scan", "Label", "Predicted", "Margin of the probability"]
    return Table("Labels to check first, because the prediction contradicts them.", columns, rows)
