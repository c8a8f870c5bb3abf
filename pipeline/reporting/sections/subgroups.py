"""The section of subgroups: metrics within groups of patients, and whether the AUROC differs between them."""

from dataclasses import dataclass

import pandas as pd

from pipeline.evaluation.subgroups import RATES
from pipeline.reporting.formatting import number, optional
from pipeline.reporting.inputs import ReportInputs
from pipeline.reporting.section import SECTIONS

LEVEL = 0.05
TEMPLATE = """
<p>{{ content.note }}</p>
{% if content.rows %}<div class="scroll"><table>
<caption>Metrics within groups of patients. A small p-value indicates that the AUROCs of a column's groups differ; it
is adjusted for the number of columns, and of classes. A calibration intercept above 0 means more positives than
predicted.</caption>
<thead><tr><th scope="col">Column</th><th scope="col">Group</th><th scope="col" class="num">Patients</th>
<th scope="col" class="num">AUROC</th><th scope="col" class="num">{{ confidence }} interval</th>
<th scope="col" class="num">p, adjusted</th><th scope="col">Sensitivity</th><th scope="col">Specificity</th>
<th scope="col">Calibration intercept</th><th scope="col">Remark</th></tr></thead>
<tbody>
{% for row in content.rows %}
<tr><th scope="row">{{ row.covariate }}</th><td>{{ row.group }}</td><td class="num">{{ row.num_patients }}</td>
<td class="num">{{ row.value }}</td><td class="num">{{ row.range }}</td><td class="num">{{ row.p_value }}</td>
{% for rate in row.rates %}<td>{{ rate }}</td>{% endfor %}<td class="muted">{{ row.reason }}</td></tr>
{% endfor %}
</tbody></table></div>{% endif %}
"""


@dataclass(frozen=True)
class SubgroupRow:
    covariate: str
    group: str
    num_patients: int
    value: str
    range: str
    p_value: str
    rates: list[str]
    """Sensitivity, specificity and calibration intercept, each with its interval or the reason why it has none."""
    reason: str


@dataclass(frozen=True)
class Subgroups:
    note: str
    rows: list[SubgroupRow]


@SECTIONS.register("subgroups", title="Subgroups", template=TEMPLATE)
def read_subgroups(inputs: ReportInputs) -> Subgroups | None:
    """Groups with an AUROC; those with too few patients are counted, not listed."""
    table = inputs.run.subgroups
    if table is None or table.empty:
        return None
    assessed = table[table["auroc"].notna()]
    num_small = len(table) - len(assessed)
    small = f" {num_small} groups have too few patients for an AUROC." if num_small else ""
    rows = [subgroup_row(row) for row in assessed.to_dict("records")]
    return Subgroups(f"{difference_sentence(assessed)}{small}".strip(), rows)


def difference_sentence(assessed: pd.DataFrame) -> str:
    if assessed["p_value"].isna().all():
        return ""
    differing = assessed.loc[assessed["adjusted_p_value"] < LEVEL, "covariate"].unique()
    if len(differing):
        return f"The AUROC differs between groups of {', '.join(differing)}."
    return "No evidence that the AUROC differs between groups of patients; with few patients this is weak evidence."


def subgroup_row(row: dict[str, object]) -> SubgroupRow:
    low, high = optional(row["low"]), optional(row["high"])
    return SubgroupRow(
        covariate=str(row["covariate"]),
        group=str(row["group"]),
        num_patients=int(row["num_patients"]),
        value=number(optional(row["auroc"])),
        range="" if low is None else f"{number(low)} to {number(high)}",
        p_value=number(optional(row["adjusted_p_value"])),
        rates=[rate_text(row, name) for name in RATES],
        reason="" if pd.isna(row["reason"]) else str(row["reason"]),
    )


def rate_text(row: dict[str, object], name: str) -> str:
    value, low, high = (optional(row[name + end]) for end in ("", "_low", "_high"))
    if low is None:
        return f"{number(value)} ({row[name + '_reason']})"
    return f"{number(value)} ({number(low)} to {number(high)})"
