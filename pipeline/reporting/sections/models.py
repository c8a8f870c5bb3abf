"""Sections on single models: operating points of each rule, and the metrics of each fold and seed."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.core.columns import FOLD, SEED
from pipeline.evaluation.curves import CAVEAT, OPERATING_POINTS, SHOWN
from pipeline.evaluation.metrics import metric_title
from pipeline.evaluation.models_table import ALL, TOGETHER, spread
from pipeline.evaluation.one_vs_rest import OF_LABEL
from pipeline.reporting.formatting import number
from pipeline.reporting.inputs import ReportInputs
from pipeline.reporting.section import SECTIONS
from pipeline.reporting.sections.metrics import RULES

OPERATING_TEMPLATE = """
<div class="scroll"><table>
<caption>The threshold of each rule was chosen on validation and applied unchanged.</caption>
<thead><tr><th scope="col">Rule</th><th scope="col" class="num">Threshold</th>
{% for name in content.columns %}<th scope="col" class="num">{{ name }}</th>{% endfor %}
<th scope="col">Remark</th></tr></thead>
<tbody>
{% for row in content.rows %}
<tr><th scope="row">{{ row.rule }}</th><td class="num">{{ row.threshold }}</td>
{% for cell in row.cells %}<td class="num">{{ cell }}</td>{% endfor %}<td class="muted">{{ row.reason }}</td></tr>
{% endfor %}
</tbody></table></div>
"""
MODELS_TEMPLATE = """
<p>{{ content.note }}</p>
<div class="scroll"><table>
<caption>Value and {{ confidence }} interval of each model on the same split, without calibration.</caption>
<thead><tr><th scope="col">Model</th><th scope="col" class="num">Patients</th>
{% for name in content.columns %}<th scope="col" class="num">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in content.rows %}
<tr><th scope="row">{{ row.model }}</th><td class="num">{{ row.num_patients }}</td>
{% for cell in row.cells %}<td class="num">{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
"""
STACK_TEMPLATE = """
<div class="scroll"><table>
<caption>Means over the trainings. Log loss and AUROC are of training patients that a member was not fitted on; its gain
is by how much the stack's log loss would rise without it. Weights, penalties and members were chosen on these
patients, so the stack is judged by the metrics above, not by this table.</caption>
<thead><tr><th scope="col">Member</th><th scope="col" class="num">Weight</th><th scope="col" class="num">AUROC</th>
<th scope="col" class="num">Log loss</th><th scope="col" class="num">Gain</th></tr></thead>
<tbody>
{% for row in content %}
<tr><th scope="row">{{ row.name }}</th><td class="num">{{ row.weight }}</td><td class="num">{{ row.auroc }}</td>
<td class="num">{{ row.log_loss }}</td><td class="num">{{ row.gain }}</td></tr>
{% endfor %}
</tbody></table></div>
"""


@dataclass(frozen=True)
class OperatingRow:
    rule: str
    threshold: str
    cells: list[str]
    """Value and interval of each column."""
    reason: str


@dataclass(frozen=True)
class OperatingPoints:
    columns: list[str]
    rows: list[OperatingRow]


@SECTIONS.register("operating", title="Operating points", template=OPERATING_TEMPLATE)
def read_operating_points(inputs: ReportInputs) -> OperatingPoints | None:
    """One row per rule; None with more than two classes."""
    table = inputs.run.plots.get(OPERATING_POINTS)
    if table is None or table.empty:
        return None
    keys = [key for key in (OF_LABEL, "rule") if key in table]
    rows = [
        operating_row(", ".join([*labels, RULES[rule]]), group)
        for (*labels, rule), group in table.groupby(keys, sort=False)
    ]
    return OperatingPoints([metric_title(name) for name in SHOWN], rows)


def operating_row(name: str, group: pd.DataFrame) -> OperatingRow:
    if group["metric"].isna().all():
        return OperatingRow(name, "none", ["" for _ in SHOWN], str(group["reason"].iloc[0]))
    found, caveat = group.set_index("metric"), group[CAVEAT].iloc[0]
    cells = [format_row(found.loc[metric]) for metric in SHOWN]
    return OperatingRow(name, number(found["threshold"].iloc[0]), cells, "" if pd.isna(caveat) else str(caveat))


@dataclass(frozen=True)
class ModelRow:
    model: str
    num_patients: int
    cells: list[str]
    """Value and interval of each column, or the reason why it is undefined."""


@dataclass(frozen=True)
class SingleModels:
    note: str
    columns: list[str]
    rows: list[ModelRow]


@SECTIONS.register("models", title="Single models", template=MODELS_TEMPLATE)
def read_single_models(inputs: ReportInputs) -> SingleModels | None:
    """One row per model; None for a single model, which the headline shows."""
    table = inputs.run.models
    if table is None or len(table[[SEED, FOLD]].drop_duplicates()) < 2:
        return None
    metrics = list(dict.fromkeys(table["metric"]))
    keys = [key for key in (OF_LABEL, SEED, FOLD) if key in table]
    rows = [
        model_row(dict(zip(keys, key, strict=True)), group, metrics) for key, group in table.groupby(keys, sort=False)
    ]
    return SingleModels(format_spread(table), [metric_title(name) for name in metrics], rows)


def model_row(key: dict[str, object], group: pd.DataFrame, metrics: list[str]) -> ModelRow:
    found = group.set_index("metric")
    cells = [format_row(found.loc[name]) for name in metrics]
    return ModelRow(model_name(key), int(group["num_patients"].iloc[0]), cells)


def model_name(key: dict[str, object]) -> str:
    label = f"{key[OF_LABEL]}, " if OF_LABEL in key else ""
    fold = str(key[FOLD])
    if fold.startswith(TOGETHER):
        folds = f"{fold} together"
    else:
        folds = "folds together" if fold == ALL else f"fold {fold}"
    return f"{label}seed {key[SEED]}, {folds}"


def format_row(row: pd.Series) -> str:
    if pd.isna(row["value"]):
        return f"undefined: {row['reason']}"
    return number(row["value"]) + ("" if pd.isna(row["low"]) else f" ({number(row['low'])} to {number(row['high'])})")


def format_spread(table: pd.DataFrame) -> str:
    """The spread over seeds and folds, which the interval does not show, because it is about patients."""
    if OF_LABEL in table:
        return ""
    sentences = []
    for by, name in ((SEED, "seeds"), (FOLD, "folds")):
        found = spread(table, by)
        if found is not None:
            low, high, deviation = found
            sentences.append(
                f"AUROCs of {name} range from {number(low)} to {number(high)}, standard deviation {number(deviation)}."
            )
    if table[SEED].nunique() < 2:
        sentences.append("With one seed, the variation between trainings is unknown.")
    return " ".join(sentences)


@dataclass(frozen=True)
class MemberRow:
    name: str
    weight: str
    auroc: str
    log_loss: str
    gain: str


@SECTIONS.register("members", title="Members of the stack", template=STACK_TEMPLATE)
def read_members(inputs: ReportInputs) -> list[MemberRow] | None:
    """One row per member; None for a network that is no stack."""
    reports = list(inputs.run.members.values())
    return [member_row(name, [report[name] for report in reports]) for name in reports[0]] if reports else None


def member_row(name: str, values: list[dict[str, float | None]]) -> MemberRow:
    def mean(key: str) -> float:
        return float(np.mean([value[key] for value in values]))

    without = [(value["stack_log_loss_without"], value["stack_log_loss"]) for value in values]
    gains = [alone - together for alone, together in without if alone is not None]
    gain = number(float(np.mean(gains))) if gains else "alone" if mean("weight") else "left out"
    return MemberRow(name, number(mean("weight")), number(mean("auroc")), number(mean("log_loss")), gain)
