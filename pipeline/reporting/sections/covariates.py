"""Sections of the cohort page on covariates: their values by class and by split, and what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from pipeline.core.columns import LABEL, PATIENT_ID, SPLIT
from pipeline.core.folds import is_nested
from pipeline.evaluation.case_mix import IMBALANCE, MAX_CATEGORIES, is_missing, is_number, standardized_difference
from pipeline.reporting.inputs import CohortInputs, ReportInputs
from pipeline.reporting.section import SECTIONS, Table
from pipeline.reporting.sections.cohort import SPLIT_TITLES

MARK = "△"
ROLES = "covariates; columns.clinical, columns.acquisition and columns.site in the cohort's config name them."
TEMPLATE = """
{% if content.covariates %}{% for table in content.covariates %}{{ plain_table(table) }}{% endfor %}
{% else %}{{ missing(content.roles) }}{% endif %}
{{ plain_table(content.missing_values) }}
"""


@dataclass(frozen=True)
class Covariates:
    covariates: list[Table]
    missing_values: Table
    roles: str = ROLES


@SECTIONS.register(
    "covariates",
    title="Covariates",
    page="cohort",
    template=TEMPLATE,
    missing=ROLES,
)
def read_covariates(inputs: ReportInputs) -> Covariates | None:
    """By class and by split, then missing values."""
    cohort, columns = inputs.cohort, inputs.config.cohort.columns.covariates
    if cohort.table is None:
        return None
    known = [name for name in columns if name in cohort.table]
    return Covariates(covariate_tables(cohort, known), missing_table(cohort.table, [LABEL, *known]))


def covariate_tables(cohort: CohortInputs, names: list[str]) -> list[Table]:
    """Each patient has the class and the split of the first scan."""
    if not names:
        return []
    patients = cohort.table.drop_duplicates(PATIENT_ID).set_index(PATIENT_ID)
    in_class = cohort.memberships(patients)
    tables = [covariate_table(in_class, names, in_class[LABEL], cohort.classes, of="class")]
    if cohort.splits is not None and not is_nested(cohort.splits):
        splits = cohort.splits.drop_duplicates(PATIENT_ID).set_index(PATIENT_ID)[SPLIT].map(SPLIT_TITLES)
        order = [name for name in SPLIT_TITLES.values() if name in set(splits)]
        tables.append(covariate_table(patients, names, splits.reindex(patients.index), order, of="split"))
    return tables


def missing_table(table: pd.DataFrame, names: list[str]) -> Table:
    """One row per column that has a role."""
    missing = {name: is_missing(table[name]) for name in names}
    rows = [[name, f"{claims.sum():,}", share(claims)] for name, claims in missing.items()]
    return Table("Scans without a value.", ["Column", "Scans", "Share"], rows)


def covariate_table(
    patients: pd.DataFrame, names: Sequence[str], groups: pd.Series, order: list[str], of: str
) -> Table:
    """One row per covariate or category, one column per group; `patients` and `groups` have one row per patient."""
    parts = [patients[groups == group] for group in order]
    sizes = [f"{group} (n = {len(part)})" for group, part in zip(order, parts, strict=True)]
    caption = (
        f"Covariates by {of} from the first scan of each patient: median and quartiles, or share of the known values. "
        f"The last column is the largest standardized difference of two groups; {MARK} marks {IMBALANCE:g} and more."
    )
    rows = [row for name in names for row in covariate_rows(name, patients[name], [part[name] for part in parts])]
    return Table(caption, ["Covariate", *sizes, "Difference"], rows)


def covariate_rows(name: str, values: pd.Series, parts: list[pd.Series]) -> list[list[str]]:
    """Quartiles of a number, or one row per common category; then the missing values, if any."""
    rows = number_row(name, parts) if is_number(values) else category_rows(name, values, parts)
    missing = [is_missing(part) for part in parts]
    if is_missing(values).any():
        rows.append([f"{name}: missing", *(f"{part.sum()} ({share(part)})" for part in missing), difference(missing)])
    return rows


def number_row(name: str, parts: list[pd.Series]) -> list[list[str]]:
    numbers = [pd.to_numeric(part[~is_missing(part)]) for part in parts]
    return [[name, *(quartiles(part) for part in numbers), difference(numbers)]]


def category_rows(name: str, values: pd.Series, parts: list[pd.Series]) -> list[list[str]]:
    filled = [part[~is_missing(part)] for part in parts]
    common = values[~is_missing(values)].value_counts().index[:MAX_CATEGORIES]
    return [
        [f"{name}: {value}", *(share(part == value) for part in filled), difference([part == value for part in filled])]
        for value in common
    ]


def quartiles(numbers: pd.Series) -> str:
    if numbers.empty:
        return "—"
    low, middle, high = numbers.quantile([0.25, 0.5, 0.75])
    return f"{middle:.4g} ({low:.4g} to {high:.4g})"


def share(claims: pd.Series) -> str:
    return f"{claims.mean():.0%}" if len(claims) else "—"


def difference(parts: list[pd.Series]) -> str:
    """The largest between any two groups, formatted, with a mark for imbalance."""
    found = [standardized_difference(first, second) for first, second in combinations(parts, 2)]
    known = [value for value in found if not np.isnan(value)]
    if not known:
        return "—"
    largest = max(known)
    return f"{largest:.2f}{f' {MARK}' if largest >= IMBALANCE else ''}"
