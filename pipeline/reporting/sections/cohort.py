"""Covariates of groups of patients side by side: figures, what is missing, and how far apart the groups are.

A group is a class or a side of the split. Differences are standardised: of means or shares, over the standard deviation
within groups (Austin, Statistics in Medicine 28:3083, 2009), so that they do not depend on unit or number of patients.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core.columns import DEVELOPMENT, FOLD, LABEL, LABEL_SEPARATOR, NESTED, NO_LABEL, PATIENT_ID, SPLIT, TEST
from pipeline.core.folds import fold_columns, is_nested
from pipeline.reporting.inputs import CohortFacts
from pipeline.reporting.labels import Statement

MOST_CATEGORIES = 6
IMBALANCE = 0.1
"""Standardised difference from which groups are usually called unbalanced."""
MARK = "△"


@dataclass(frozen=True)
class Table:
    caption: str
    columns: list[str]
    rows: list[list[str]]


def covariate_table(
    patients: pd.DataFrame, names: Sequence[str], groups: pd.Series, order: list[str], of: str
) -> Table:
    """A row a covariate or category, a column a group; `patients` has a row a patient, `groups` the group of each."""
    parts = [patients[groups == group] for group in order]
    sizes = [f"{group} (n = {len(part)})" for group, part in zip(order, parts, strict=True)]
    caption = (
        f"Covariates by {of}, one row a patient (the first scan's): median and quartiles, or share of those filled in. "
        f"The last column is the largest standardised difference of two columns; {MARK} marks {IMBALANCE:g} and more."
    )
    rows = [row for name in names for row in covariate_rows(name, patients[name], [part[name] for part in parts])]
    return Table(caption, ["Covariate", *sizes, "Difference"], rows)


def covariate_rows(name: str, values: pd.Series, parts: list[pd.Series]) -> list[list[str]]:
    """Quartiles of a number, or a row for each of the common categories; then what is missing, if anything is."""
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
    common = values[~is_missing(values)].value_counts().index[:MOST_CATEGORIES]
    return [
        [f"{name}: {value}", *(share(part == value) for part in filled), difference([part == value for part in filled])]
        for value in common
    ]


def is_missing(values: pd.Series) -> pd.Series:
    return values.isna() | (values.astype(str).str.strip() == "")


def is_number(values: pd.Series) -> bool:
    """Are all values that are filled in numbers, and too many to be codes?"""
    filled = values[~is_missing(values)]
    return bool(pd.to_numeric(filled, errors="coerce").notna().all()) and filled.nunique() > MOST_CATEGORIES


def quartiles(numbers: pd.Series) -> str:
    if numbers.empty:
        return "—"
    low, middle, high = numbers.quantile([0.25, 0.5, 0.75])
    return f"{middle:.4g} ({low:.4g} to {high:.4g})"


def share(claims: pd.Series) -> str:
    return f"{claims.mean():.0%}" if len(claims) else "—"


def difference(parts: list[pd.Series]) -> str:
    """The largest between any two groups, in words."""
    found = [standardised_difference(first, second) for first, second in combinations(parts, 2)]
    known = [value for value in found if not np.isnan(value)]
    if not known:
        return "—"
    largest = max(known)
    return f"{largest:.2f}{f' {MARK}' if largest >= IMBALANCE else ''}"


def standardised_difference(first: pd.Series, second: pd.Series) -> float:
    """|difference of means| over the root mean of the two variances; NaN without values, or without any variance.

    Claims count as 0 and 1, whose variance is p (1 - p).
    """
    if first.empty or second.empty:
        return float("nan")
    ddof = 0 if first.dtype == bool else min(1, len(first) - 1, len(second) - 1)
    first, second = first.astype(float), second.astype(float)
    spread = np.sqrt((first.var(ddof=ddof) + second.var(ddof=ddof)) / 2)
    gap = abs(first.mean() - second.mean())
    return float(gap / spread) if spread > 0 else (0.0 if gap == 0 else float("nan"))


SIDE_NAMES = {DEVELOPMENT: "development", NESTED: "test in turn", TEST: "locked test set"}


@dataclass(frozen=True)
class Step:
    """One station on the way from files to analysed scans."""

    name: str
    scans: int
    patients: int
    is_loss: bool = False
    is_part: bool = False
    """One of the parts that the last step divides into."""


def flow(facts: CohortFacts) -> list[Step]:
    """Ingest's steps, then the split."""
    steps = [
        Step(entry["step"], entry["scans"], entry["patients"], entry["step"].startswith("excluded"))
        for entry in (facts.ingest or {}).get("flow", [])
    ]
    if steps and facts.splits is not None:
        steps += [
            Step(SIDE_NAMES[split], len(rows), rows[PATIENT_ID].nunique(), is_part=True)
            for split, rows in facts.splits.groupby(SPLIT)
        ]
    return steps


def notes(facts: CohortFacts) -> list[str]:
    """Sentences on problems found and leaks looked for."""
    said = []
    if facts.ingest is not None:
        said.append(problem_words(facts.ingest.get("problems", [])))
    if facts.leakage is not None:
        said.append(leak_words(facts.leakage))
    else:
        said.append("Leaks between splits were not looked for, or the record of it is missing.")
    return said


def problem_words(problems: list[dict[str, Any]]) -> str:
    if not problems:
        return "Ingest found nothing to remark on."
    counts = Counter(problem["code"] for problem in problems)
    return "Ingest remarked on: " + ", ".join(f"{code} ({count})" for code, count in counts.most_common()) + "."


def leak_words(leakage: dict[str, Any]) -> str:
    findings = leakage.get("findings", [])
    across = [finding for finding in findings if finding.get("across_splits")]
    verdict = {
        "clean": "No leak between splits was found",
        "accepted": "Leaks between splits were found and accepted",
        "leaks": "Leaks were found in a division that was refused, splits.csv is an earlier one",
    }.get(leakage["verdict"], leakage["verdict"])
    return f"{verdict}; {len(across)} of {len(findings)} findings cross splits." if findings else f"{verdict}."


def leak_statements(leakage: dict[str, Any] | None) -> list[Statement]:
    """Each leak across the split, stamped: accepted by name, or still open."""
    across = [entry for entry in (leakage or {}).get("findings", []) if entry["across_splits"]]
    return [
        ("caution", f"Accepted leak {entry['code']}: {entry['message']}.")
        if entry["accepted"]
        else ("bad", f"Open leak {entry['code']}: {entry['message']}.")
        for entry in across
    ]


def class_order(facts: CohortFacts, table: pd.DataFrame) -> list[str]:
    """Ingest's order, the positive class last; by the alphabet where that is missing. Last of several labels, none."""
    classes = (facts.ingest or {}).get("classes") or sorted(table[LABEL].unique())
    return [*classes, NO_LABEL] if is_multilabel(facts) and NO_LABEL in set(table[LABEL]) else classes


def is_multilabel(facts: CohortFacts) -> bool:
    return (facts.ingest or {}).get("task") == "multilabel"


def memberships(facts: CohortFacts, rows: pd.DataFrame) -> pd.DataFrame:
    """The same rows, one for each class that a scan of several labels is in."""
    if not is_multilabel(facts):
        return rows
    return rows.assign(**{LABEL: rows[LABEL].str.split(LABEL_SEPARATOR)}).explode(LABEL)


def split_table(facts: CohortFacts) -> Table | None:
    """Patients and scans of each class in test and in each fold."""
    if facts.splits is None:
        return None
    classes, rows = class_order(facts, facts.splits), []
    for part, scans in parts(facts.splits):
        by_class = dict(tuple(memberships(facts, scans).groupby(LABEL)))
        rows.append([part, *(cell(by_class.get(name)) for name in classes)])
    how = (
        "Each part is test in turn, for models that validate on one and train on the rest."
        if is_nested(facts.splits)
        else "Each fold validates one model that is trained on the others of its division."
    )
    return Table(f"Patients (scans) by class. {how}", ["Part", *classes], rows)


def cell(scans: pd.DataFrame | None) -> str:
    return "0" if scans is None else f"{scans[PATIENT_ID].nunique()} ({len(scans)})"


def parts(splits: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The scans of each fold by its number, then those that always train, then the locked test set."""
    folds = {
        int(number): rows for column in fold_columns(splits) for number, rows in splits.groupby(column) if number != ""
    }
    name = "part" if is_nested(splits) else "fold"
    is_test = splits[SPLIT] == TEST
    others = {"always training": splits[~is_test & (splits[FOLD] == "")], SIDE_NAMES[TEST]: splits[is_test]}
    return [
        *((f"{name} {number}", folds[number]) for number in sorted(folds)),
        *((name, rows) for name, rows in others.items() if len(rows)),
    ]
