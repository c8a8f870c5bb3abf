"""Sections on how a result was made: preprocessing plan, training history, config and provenance."""

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.io import format_yaml
from pipeline.core.provenance import git_revision, package_versions, portable_config
from pipeline.reporting.inputs import ReportInputs, RunInputs
from pipeline.reporting.plots import history_figure
from pipeline.reporting.section import SECTIONS, Figure

LIBRARIES = ("torch", "monai", "lightning", "numpy", "scikit-learn")
NOT_DECISIONS = ("reasons", "digests", "measured", "cost_estimate", "max_epochs_from")
"""Keys of plan.yaml that decide nothing."""
PLAN_TEMPLATE = """
<div class="scroll"><table>
<caption>How every scan is preprocessed, decided from development scans and without labels.</caption>
<thead><tr><th scope="col">Step</th><th scope="col">Setting</th><th scope="col">Reason</th></tr></thead>
<tbody>{% for row in content %}<tr><th scope="row">{{ row.name }}</th><td>{{ row.value }}</td>
<td class="muted">{{ row.reason }}</td></tr>{% endfor %}</tbody></table></div>
"""
RECORD_TEMPLATE = """
<div class="scroll"><table><caption>What this page was made from.</caption>
<tbody>{% for name, value in content.provenance %}<tr><th scope="row">{{ name }}</th><td>{{ value }}</td></tr>
{% endfor %}</tbody>
</table></div>
{% if content.config %}<details><summary>The resolved config</summary><pre>{{ content.config }}</pre></details>
{% else %}{{ missing("the resolved config; 'python -m pipeline.train' writes it.") }}{% endif %}
"""


@dataclass(frozen=True)
class PlanRow:
    name: str
    value: str
    reason: str


@SECTIONS.register(
    "preparation",
    title="Preprocessing",
    template=PLAN_TEMPLATE,
    missing="the plan; 'python -m pipeline.plan' writes it.",
)
def read_plan(inputs: ReportInputs) -> list[PlanRow] | None:
    """Each decision of plan.yaml with its reason."""
    plan = inputs.cohort.plan
    if plan is None:
        return None
    reasons = plan.get("reasons", {})
    return [
        PlanRow(key.replace("_", " "), format_value(value), reasons.get(key, ""))
        for key, value in plan.items()
        if key not in NOT_DECISIONS
    ]


def format_value(value: Any) -> str:
    """A value of YAML on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {format_value(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return " × ".join(format_value(inner) for inner in value)
    return "not set" if value is None else str(value)


@SECTIONS.register(
    "training",
    title="Training",
    template='<div class="wide">{{ figure(content) }}</div>',
    missing="the training history; 'python -m pipeline.train' writes it.",
)
def read_history(inputs: ReportInputs) -> Figure | None:
    histories = inputs.run.histories
    if not histories:
        return None
    caption = "Solid lines are validation, dashed lines training; the weights of the best epoch are evaluated."
    return Figure("Loss and validation AUROC", caption, history_figure(histories))


@dataclass(frozen=True)
class Record:
    provenance: list[tuple[str, str]]
    config: str | None


@SECTIONS.register("record", title="Record", template=RECORD_TEMPLATE)
def read_record(inputs: ReportInputs) -> Record:
    return Record(provenance(inputs.run, inputs.config.root), config_text(inputs.run.config))


def config_text(config: dict[str, Any] | None) -> str | None:
    """The config as YAML, without the folders of its machine, because pages are shared."""
    if config is None:
        return None
    return format_yaml(portable_config(config))


def provenance(run: RunInputs, root: Path) -> list[tuple[str, str]]:
    """Revision, versions, and the digest of the table that all metrics come from."""
    libraries = ", ".join(f"{name} {version}" for name, version in package_versions(LIBRARIES).items())
    return [
        ("Code revision", git_revision(root)),
        ("Predictions (SHA-256)", run.predictions_digest or "not available"),
        ("Raw scans", parity_text(list(run.predicted_by.values()))),
        ("Input guard", guard_text(list(run.predicted_by.values()))),
        ("Python", platform.python_version()),
        ("Libraries", libraries),
    ]


def parity_text(trainings: list[dict[str, Any]]) -> str:
    """Whether scans that were prepared again from their raw files came out the same."""
    found = [one["parity"] for one in trainings if "parity" in one]
    if not found:
        return "not compared with the preprocessed ones"
    num_scans = sum(one[part] for one in found for part in ("train", "val", "test"))
    largest = max(one["largest_difference"] for one in found)
    return (
        f"{num_scans} scans, {sum(one['val'] for one in found)} of validation, were prepared and predicted again from "
        f"their raw files: the same voxels bit for bit, largest difference of a probability {largest:.1g}"
    )


def guard_text(trainings: list[dict[str, Any]]) -> str:
    """How often scans of validation are warned of, or why there is no guard."""
    guards = [one["input_guard"] for one in trainings if "input_guard" in one]
    reasons = sorted({guard["reason"] for guard in guards if guard["reason"]})
    if not guards or reasons:
        return f"none: {'; '.join(reasons) or 'the predict stage wrote none'}"
    warned, scans = (sum(guard[key] for guard in guards) for key in ("num_val_warned", "num_val"))
    return f"{warned} of {scans} validation scans are warned of; new scans get a verdict in predict scans"
