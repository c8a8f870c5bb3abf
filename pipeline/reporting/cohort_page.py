"""The page of the cohort: who is in it, what is missing, how classes and splits differ, and what scans look like."""

from dataclasses import dataclass

import pandas as pd

from pipeline.config import Cohort
from pipeline.core.columns import LABEL, PATIENT_ID, SPLIT
from pipeline.core.folds import is_nested
from pipeline.reporting.inputs import CohortFacts
from pipeline.reporting.labels import Statement
from pipeline.reporting.page import render
from pipeline.reporting.sample_slices import Sample, sample_slices
from pipeline.reporting.sections import cohort as cohort_part
from pipeline.reporting.sections.cohort import Table, covariate_table, is_missing, share
from pipeline.reporting.sections.flow_diagram import Diagram, flow_diagram
from pipeline.store.store import Store


@dataclass(frozen=True)
class CohortPage:
    """What cohort.html.j2 fills in."""

    cohort: str
    subtitle: str
    counts: list[tuple[str, str, str]]
    """(name, value, note) of each card."""
    statements: list[Statement]
    flow: Diagram | None
    notes: list[str]
    split_table: Table | None
    covariate_tables: list[Table]
    missing_table: Table | None
    samples: list[Sample]


def cohort_html(facts: CohortFacts, cohort: Cohort, store: Store) -> str:
    """The page as text."""
    known = [name for name in cohort.columns.covariates if facts.table is not None and name in facts.table]
    classes = [] if facts.table is None else cohort_part.class_order(facts, facts.table)
    page = CohortPage(
        cohort=cohort.name,
        subtitle=f"{cohort.modality}, {len(classes)} classes: {', '.join(classes)}.",
        counts=counts(facts, classes),
        statements=cohort_part.leak_statements(facts.leakage),
        flow=flow_diagram(cohort_part.flow(facts)),
        notes=cohort_part.notes(facts),
        split_table=cohort_part.split_table(facts),
        covariate_tables=covariate_tables(facts, known, classes),
        missing_table=missing_table(facts.table, [LABEL, *known]),
        samples=sample_slices(facts, classes, store),
    )
    return render("cohort.html.j2", page)


def counts(facts: CohortFacts, classes: list[str]) -> list[tuple[str, str, str]]:
    """Patients, scans, and patients of each class."""
    if facts.table is None:
        return []
    table, in_class = facts.table, cohort_part.memberships(facts, facts.table)
    num_patients = table[PATIENT_ID].nunique()
    per_patient = len(table) / num_patients
    of_class = {name: in_class.loc[in_class[LABEL] == name, PATIENT_ID].nunique() for name in classes}
    return [
        (
            "Patients",
            f"{num_patients:,}",
            f"{per_patient:.2g} scans each on average" if per_patient > 1 else "one scan each",
        ),
        ("Scans", f"{len(table):,}", ""),
        *((name, f"{number:,}", f"patients, {number / num_patients:.0%}") for name, number in of_class.items()),
    ]


def covariate_tables(facts: CohortFacts, names: list[str], classes: list[str]) -> list[Table]:
    """By class, and by side of the split; a patient is in the class and on the side of the first scan."""
    if not names:
        return []
    patients = facts.table.drop_duplicates(PATIENT_ID).set_index(PATIENT_ID)
    in_class = cohort_part.memberships(facts, patients)
    made = [covariate_table(in_class, names, in_class[LABEL], classes, of="class")]
    if facts.splits is not None and not is_nested(facts.splits):
        sides = facts.splits.drop_duplicates(PATIENT_ID).set_index(PATIENT_ID)[SPLIT].map(cohort_part.SIDE_NAMES)
        order = [name for name in cohort_part.SIDE_NAMES.values() if name in set(sides)]
        made.append(covariate_table(patients, names, sides.reindex(patients.index), order, of="split"))
    return made


def missing_table(table: pd.DataFrame | None, names: list[str]) -> Table | None:
    """Scans without a value, a row a column of the table that has a role."""
    if table is None:
        return None
    missing = {name: is_missing(table[name]) for name in names}
    rows = [[name, f"{claims.sum():,}", share(claims)] for name, claims in missing.items()]
    return Table("Scans whose value is missing.", ["Column", "Scans", "Share"], rows)
