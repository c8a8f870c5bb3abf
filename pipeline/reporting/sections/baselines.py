"""The section of simple predictors, which the model must beat: columns of the tables, or simple image features."""

from dataclasses import dataclass

import pandas as pd

from pipeline.reporting.formatting import number, optional, span
from pipeline.reporting.inputs import ReportInputs
from pipeline.reporting.section import SECTIONS

TEMPLATE = """
<div class="scroll"><table>
<caption>Logistic regressions on columns of the tables or on simple image features, fitted on the patients that the
model could train on and evaluated on the same patients as the model, which must beat them to add anything.</caption>
<thead><tr><th scope="col">Predictor</th><th scope="col">Columns</th><th scope="col" class="num">AUROC</th>
<th scope="col" class="num">{{ confidence }} interval</th><th scope="col" class="num">Model's advantage</th>
<th scope="col">Remark</th></tr></thead>
<tbody>
{% for row in content %}
<tr><th scope="row">{{ row.name }}</th><td class="muted">{{ row.columns }}</td><td class="num">{{ row.value }}</td>
<td class="num">{{ row.range }}</td><td class="num">{{ row.advantage }}</td><td class="muted">{{ row.reason }}</td></tr>
{% endfor %}
</tbody></table></div>
"""


@dataclass(frozen=True)
class BaselineRow:
    name: str
    columns: str
    value: str
    range: str
    advantage: str
    reason: str


@SECTIONS.register(
    "baselines",
    title="Simple predictors",
    template=TEMPLATE,
    missing="simple predictors; they need cohort.csv and splits.csv.",
)
def read_baselines(inputs: ReportInputs) -> list[BaselineRow] | None:
    table = inputs.run.baselines
    return None if table is None else [baseline_row(row) for row in table.to_dict("records")]


def baseline_row(row: dict[str, object]) -> BaselineRow:
    return BaselineRow(
        name=str(row["name"]),
        columns="" if pd.isna(row["columns"]) else str(row["columns"]),
        value=number(optional(row["auroc"])),
        range=span(row["low"], row["high"]),
        advantage=advantage(row),
        reason="" if pd.isna(row["reason"]) else str(row["reason"]),
    )


def advantage(row: dict[str, object]) -> str:
    if pd.isna(row["advantage"]):
        return ""
    return f"{number(optional(row['advantage']))} ({span(row['advantage_low'], row['advantage_high'])})"
