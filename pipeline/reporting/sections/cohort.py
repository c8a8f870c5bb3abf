"""Sections on the cohort: counts, the flow from files to analyzed scans, and the split."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.core.columns import DEVELOPMENT, FOLD, LABEL, NESTED, PATIENT_ID, SPLIT, TEST
from pipeline.core.folds import fold_columns, is_nested
from pipeline.reporting.findings import leak_statements
from pipeline.reporting.inputs import CohortInputs, ReportInputs
from pipeline.reporting.section import SECTIONS, Statement, Table
from pipeline.reporting.sections.flow_diagram import Diagram, Step, flow_diagram

SPLIT_TITLES = {DEVELOPMENT: "development", NESTED: "test in turn", TEST: "locked test set"}
FLOW_TEMPLATE = """
{% if content.diagram %}{{ diagram(content.diagram, "From files to analyzed scans") }}
{% else %}{{ missing("the flow of scans; 'python -m pipeline.ingest' records it.") }}{% endif %}
{% for note in content.notes %}<p>{{ note }}</p>{% endfor %}
"""
COHORT_TEMPLATE = (
    FLOW_TEMPLATE
    + """{% if content.splits %}{{ plain_table(content.splits) }}{% endif %}
<p>Covariates, missing values and sample slices: <a href="cohort.html">the page of the cohort</a>.</p>
"""
)
COUNTS_TEMPLATE = """
<div class="cards">
{% for name, value, note in content.cards %}
  <div class="card"><div class="name">{{ name }}</div><div class="value">{{ value }}</div>
  <div class="note">{{ note }}</div></div>
{% endfor %}
</div>
{{ statements(content.statements) }}
"""


@dataclass(frozen=True)
class Counts:
    cards: list[tuple[str, str, str]]
    """(name, value, note) of each card."""
    statements: list[Statement]


@SECTIONS.register("counts", title="Counts", page="cohort", template=COUNTS_TEMPLATE)
def read_counts(inputs: ReportInputs) -> Counts:
    return Counts(count_cards(inputs.cohort), leak_statements(inputs.cohort.leakage))


@dataclass(frozen=True)
class Flow:
    diagram: Diagram | None
    notes: list[str]
    splits: Table | None


@SECTIONS.register("cohort", title="Cohort", template=COHORT_TEMPLATE)
@SECTIONS.register("flow", title="From files to analyzed scans", page="cohort", template=FLOW_TEMPLATE)
def read_flow(inputs: ReportInputs) -> Flow:
    cohort = inputs.cohort
    return Flow(flow_diagram(flow_steps(cohort)), flow_notes(cohort), split_table(cohort))


@SECTIONS.register(
    "splits",
    title="Splits",
    page="cohort",
    template="{{ plain_table(content) }}",
    missing="splits.csv; 'python -m pipeline.split' writes it.",
)
def read_splits_section(inputs: ReportInputs) -> Table | None:
    return split_table(inputs.cohort)


def count_cards(cohort: CohortInputs) -> list[tuple[str, str, str]]:
    """Patients, scans, and patients of each class."""
    if cohort.table is None:
        return []
    table, in_class = cohort.table, cohort.memberships(cohort.table)
    num_patients = table[PATIENT_ID].nunique()
    per_patient = len(table) / num_patients
    scans = f"{per_patient:.2g} scans each on average" if per_patient > 1 else "one scan each"
    of_class = {name: in_class.loc[in_class[LABEL] == name, PATIENT_ID].nunique() for name in cohort.classes}
    return [
        ("Patients", f"{num_patients:,}", scans),
        ("Scans", f"{len(table):,}", ""),
        *((name, f"{number:,}", f"patients, {number / num_patients:.0%}") for name, number in of_class.items()),
    ]


def flow_steps(cohort: CohortInputs) -> list[Step]:
    """Ingest's steps, then the split."""
    steps = [
        Step(entry["step"], entry["scans"], entry["patients"], entry["step"].startswith("excluded"))
        for entry in (cohort.ingest or {}).get("flow", [])
    ]
    if steps and cohort.splits is not None:
        steps += [
            Step(SPLIT_TITLES[split], len(rows), rows[PATIENT_ID].nunique(), is_part=True)
            for split, rows in cohort.splits.groupby(SPLIT)
        ]
    return steps


def flow_notes(cohort: CohortInputs) -> list[str]:
    """Sentences on the problems and leaks that were found."""
    sentences = []
    if cohort.ingest is not None:
        sentences.append(format_problems(cohort.ingest.get("problems", [])))
    if cohort.leakage is not None:
        sentences.append(format_leakage(cohort.leakage))
    else:
        sentences.append("The check for leaks between splits is not available; 'python -m pipeline.split' makes it.")
    return sentences


def format_problems(problems: list[dict[str, Any]]) -> str:
    if not problems:
        return "Ingest found no problems."
    counts = Counter(problem["code"] for problem in problems)
    return "Problems that ingest found: " + ", ".join(f"{code} ({count})" for code, count in counts.most_common()) + "."


def format_leakage(leakage: dict[str, Any]) -> str:
    findings = leakage.get("findings", [])
    across = [finding for finding in findings if finding.get("across_splits")]
    verdict = {
        "clean": "No leak between splits was found",
        "accepted": "Leaks between splits were found and accepted",
        "leaks": "Leaks were found, so this split was rejected and splits.csv is an earlier one",
    }.get(leakage["verdict"], leakage["verdict"])
    return f"{verdict}; {len(across)} of {len(findings)} findings cross splits." if findings else f"{verdict}."


def split_table(cohort: CohortInputs) -> Table | None:
    """Patients and scans of each class, in each fold and in test."""
    if cohort.splits is None:
        return None
    classes, rows = cohort.classes_in(cohort.splits), []
    for part, scans in split_parts(cohort.splits):
        by_class = dict(tuple(cohort.memberships(scans).groupby(LABEL)))
        rows.append([part, *(format_count(by_class.get(name)) for name in classes)])
    how = (
        "Each part is the test set in turn, for models that validate on another part and train on the rest."
        if is_nested(cohort.splits)
        else "Each fold validates one model, which is trained on the other folds."
    )
    return Table(f"Patients (scans) by class. {how}", ["Part", *classes], rows)


def format_count(scans: pd.DataFrame | None) -> str:
    return "0" if scans is None else f"{scans[PATIENT_ID].nunique()} ({len(scans)})"


def split_parts(splits: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The scans of each fold, then those that always train, then the locked test set."""
    folds = {
        int(number): rows for column in fold_columns(splits) for number, rows in splits.groupby(column) if number != ""
    }
    name = "part" if is_nested(splits) else "fold"
    is_test = splits[SPLIT] == TEST
    others = {"always training": splits[~is_test & (splits[FOLD] == "")], SPLIT_TITLES[TEST]: splits[is_test]}
    return [
        *((f"{name} {number}", folds[number]) for number in sorted(folds)),
        *((name, rows) for name, rows in others.items() if len(rows)),
    ]
