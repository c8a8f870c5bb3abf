"""The section of all metrics, and of what was frozen on validation: threshold, calibration and conformal sets."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.ensembling import PATIENT, SCAN
from pipeline.evaluation.metrics import metric_title
from pipeline.reporting.formatting import SPLIT_NAMES, Entry, interval, number
from pipeline.reporting.inputs import ReportInputs, RunInputs
from pipeline.reporting.section import SECTIONS

Json = dict[str, Any]
RULES = {
    "youden": "the best sum of sensitivity and specificity",
    "cost": "the lowest expected cost",
    "sensitivity": "the requested sensitivity",
    "specificity": "the requested specificity",
}
TEMPLATE = """
<p>{{ content.threshold }}</p>
<p>{{ content.calibration }}</p>
<p>{{ content.conformal }}</p>
{% for table in content.tables %}
{% if table.is_headline %}<h3>{{ table.title }}</h3>{% else %}<details><summary>{{ table.title }}</summary>{% endif %}
<div class="scroll"><table>
<caption>{{ table.caption }}</caption>
<thead><tr><th scope="col">Metric</th><th scope="col" class="num">Value</th><th scope="col" class="num">{{ confidence }}
  interval</th><th scope="col" class="num">Patients</th><th scope="col">Remark</th></tr></thead>
<tbody>
{% for row in table.rows %}
<tr><th scope="row">{{ row.title }}</th><td class="num">{{ row.value }}</td><td class="num">{{ row.range }}</td>
  <td class="num">{{ row.num_patients }}</td><td class="muted">{{ row.reason }}</td></tr>
{% endfor %}
</tbody></table></div>
{% if not table.is_headline %}</details>{% endif %}
{% endfor %}
"""


@dataclass(frozen=True)
class MetricRow:
    title: str
    value: str
    range: str
    num_patients: int
    reason: str


@dataclass(frozen=True)
class MetricTable:
    title: str
    caption: str
    rows: list[MetricRow]
    is_headline: bool


@dataclass(frozen=True)
class AllMetrics:
    threshold: str
    calibration: str
    conformal: str
    tables: list[MetricTable]


@SECTIONS.register("metrics", title="All metrics", template=TEMPLATE)
def read_metrics_section(inputs: ReportInputs) -> AllMetrics:
    run = inputs.run
    return AllMetrics(format_threshold(run), format_calibration(run), format_conformal(run), metric_tables(run))


def metric_tables(run: RunInputs) -> list[MetricTable]:
    """The headline table first; the page folds the others away."""
    tables = [
        MetricTable(
            title=f"{SPLIT_NAMES[split].capitalize()}, by {level}",
            caption=table_caption(split, level),
            rows=[metric_row(name, entry) for name, entry in run.metrics[split][level].items()],
            is_headline=(split, level) == (run.headline_split, run.headline_level),
        )
        for split in ("test", "val", "train")
        if split in run.metrics
        for level in (PATIENT, SCAN)
    ]
    return sorted(tables, key=lambda table: not table.is_headline)


def table_caption(split: str, level: str) -> str:
    caption = f"Metrics over {level}s; all intervals are clustered by patient."
    return caption if split == "test" else f"{caption} Optimistic: epoch and threshold were chosen on validation."


def metric_row(name: str, entry: Entry) -> MetricRow:
    shown = "" if entry["low"] is None else interval(entry)
    value = "undefined" if entry["value"] is None else number(entry["value"])
    return MetricRow(metric_title(name), value, shown, entry["num_patients"], entry["reason"] or "")


def format_threshold(run: RunInputs) -> str:
    """How probabilities become predicted classes."""
    if not run.operating_points:
        return "The operating point is not available; 'python -m pipeline.evaluate' writes it."
    return format_by_label(run.operating_points[run.headline_level], "rule", format_operating_point)


def format_by_label(frozen: Json, own_key: str, format_one: Callable[[Json], str]) -> str:
    """One sentence, or with several labels, each with its own values, one for each label."""
    if own_key in frozen:
        return format_one(frozen)
    return " ".join(f"{label}: {format_one(own)}" for label, own in frozen.items())


def format_operating_point(point: Json) -> str:
    if point["threshold"] is None:
        return f"No threshold: {point['reason']}."
    rule = f"The positive class is predicted from a probability of {point['threshold']:.3f}"
    if point["rule"] not in RULES:
        return f"{rule}: {point['reason']}."
    caveat = f"; {point['reason']}" if point["reason"] else ""
    return f"{rule}, chosen on validation for {RULES[point['rule']]} and frozen there{caveat}."


def format_calibration(run: RunInputs) -> str:
    if not run.calibrations:
        return "No calibration is available."
    fitted = run.calibrations[run.headline_level]
    models = [model for model in fitted.values() if "method" in model]
    if not models:
        return " ".join(f"{label}: {format_calibrations(list(own.values()))}" for label, own in fitted.items())
    return format_calibrations(models)


def format_calibrations(models: list[Json]) -> str:
    plain = next((model for model in models if model["method"] == "none"), None)
    if plain is not None:
        return f"Probabilities were not calibrated: {plain['reason']}."
    methods = " and ".join(sorted({model["method"] for model in models}))
    if len(models) > 1:
        return f"The probabilities of each of {len(models)} models were calibrated ({methods}) before they were pooled."
    return f"Calibrated metrics use {methods} calibration, fitted on validation: {models[0]['reason']}."


def format_conformal(run: RunInputs) -> str:
    """The coverage that conformal sets promise, and its range in a sample of this size."""
    if not run.conformal:
        return "Conformal sets are not available; 'python -m pipeline.evaluate' fits them."
    return format_by_label(run.conformal[run.headline_level], "coverage", format_conformal_sets)


def format_conformal_sets(fitted: Json) -> str:
    if fitted["reason"]:
        return f"No conformal sets: {fitted['reason']}."
    promise = f"Conformal sets contain the true class of {fitted['coverage']:.0%} of the patients of each class"
    abstention = "A set of several classes or of none is an abstention."
    if fitted.get("caveat"):
        return f"{promise}; {fitted['caveat']}. {abstention}"
    ranges = ", ".join(
        f"{low:.0%} and {high:.0%} of {name} ({fitted['num_patients'][name]} validation patients)"
        for name, (low, high) in fitted["expected_range"].items()
    )
    return f"{promise}. Fitted on so few patients, they cover between {ranges}. {abstention}"
