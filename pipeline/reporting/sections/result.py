"""The section on the result: the headline metrics with what they show."""

from dataclasses import dataclass

from pipeline.core.columns import TEST
from pipeline.evaluation.metrics import metric_title
from pipeline.evaluation.one_vs_rest import OF_LABEL
from pipeline.reporting.findings import (
    audit_statements,
    baseline_statements,
    encoder_statements,
    first_look_statements,
    headline_statements,
    leak_statements,
)
from pipeline.reporting.formatting import SPLIT_NAMES, UNITS, Entry, interval, number
from pipeline.reporting.inputs import ReportInputs, RunInputs
from pipeline.reporting.section import SECTIONS, Statement

HEADLINE_TEMPLATE = """
<p>{{ content.summary }}</p>
<div class="cards">
{% for card in content.cards %}
  <div class="card{% if loop.first %} main{% endif %}">
    <div class="name">{{ card.name }}</div><div class="value">{{ card.value }}</div>
    <div class="range">{{ card.range }}</div><div class="note">{{ card.note }}</div>
  </div>
{% endfor %}
</div>
{{ statements(content.statements) }}
"""


@dataclass(frozen=True)
class Card:
    """One headline metric."""

    name: str
    value: str
    range: str
    note: str


@dataclass(frozen=True)
class Headline:
    summary: str
    cards: list[Card]
    statements: list[Statement]


@SECTIONS.register("result", title="Result", template=HEADLINE_TEMPLATE)
def read_headline(inputs: ReportInputs) -> Headline:
    run = inputs.run
    found = headline_statements(run.headline, run.headline_split, inputs.config.evaluation.confidence)
    found = [*first_look_statements({key.fold for key in run.histories}, inputs.cohort.num_folds), *found]
    findings = [*audit_statements(run.audits), *found, *baseline_statements(run.baselines)]
    findings += [*encoder_statements(run.config), *leak_statements(inputs.cohort.leakage)]
    return Headline(summary(run), cards(run.headline), findings)


def summary(run: RunInputs) -> str:
    """Which patients the headline is about."""
    text = f"Evaluated on the {SPLIT_NAMES[run.headline_split]}, one decision per {run.headline_level}"
    if "scores" not in run.plots or OF_LABEL in run.plots["scores"]:
        return f"{text}."
    counts = run.plots["scores"]["label"].value_counts(sort=False)
    classes = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"{text}: {counts.sum()} {UNITS[run.headline_level]}, {classes}.{format_test_evaluations(run)}"


def format_test_evaluations(run: RunInputs) -> str:
    """How often this test set was evaluated, by any experiment."""
    if run.headline_split != TEST or run.num_test_evaluations < 2:
        return ""
    return f" Over all experiments, {run.num_test_evaluations} sets of predictions of this test set were evaluated."


def cards(headline: dict[str, Entry]) -> list[Card]:
    """The metrics that readers look for first, if they are defined for this number of classes."""
    notes = {
        "auroc": "chance is 0.5",
        "observed_expected_ratio": "1 is calibrated",
        "calibration_slope": "1 is calibrated",
        "brier_score": floor_note(headline.get("brier_uncertainty")),
        "sensitivity": "",
        "specificity": "",
    }
    return [card(name, headline[name], note) for name, note in notes.items() if name in headline]


def floor_note(floor: Entry | None) -> str:
    return "0 is perfect" if floor is None or floor["value"] is None else f"floor {number(floor['value'])}"


def card(name: str, entry: Entry, note: str) -> Card:
    notes = ", ".join(part for part in (f"{entry['num_patients']} patients", note) if part)
    if entry["value"] is None:
        return Card(metric_title(name), "undefined", entry["reason"], notes)
    return Card(metric_title(name), number(entry["value"]), interval(entry), notes)
