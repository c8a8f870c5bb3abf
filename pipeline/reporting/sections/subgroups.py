"""The section of subgroups: the AUROC within groups of patients, and whether it differs between them."""

from dataclasses import dataclass

import pandas as pd

from pipeline.reporting.formatting import number, optional
from pipeline.reporting.inputs import ReportInputs
from pipeline.reporting.section import SECTIONS

LEVEL = 0.05
TEMPLATE = """
<p>{{ content.note }}</p>
{% if content.rows %}<div class="scroll"><table>
<caption>AUROC within groups of patients. A small p-value indicates that the groups of a column differ; it is adjusted
for the number of columns.</caption>
<thead><tr><th scope="col">Column</th><th scope="col">Group</th><th scope="col" class="num">Patients</th>
<th scope="col" class="num">AUROC</th><th scope="col" class="num">{{ confidence }} interval</th>
<th scope="col" class="num">p, adjusted</th><th scope="col">Remark</th></tr></thead>
<tbody>
{% for row in content.rows %}
<tr><th scope="row">{{ row.covariate }}</th><td>{{ row.group }}</td><td class="num">{{ row.num_patients }}</td>
<td class="num">{{ row.value }}</td><td class="num">{{ row.range }}</td><td class="num">{{ row.p_value }}</td>
<td class="muted">{{ row.reason }}</td></tr>
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
        reason="" if pd.isna(row["reason"]) else str(row["reason"]),
    )
