"""Covariates of groups of patients side by side: figures, what is missing, and how far apart the groups are.

A group is a class or a side of the split. Differences are standardised: of means or shares, over the standard deviation
within groups (Austin, Statistics in Medicine 28:3083, 2009), so that they do not depend on unit or number of patients.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

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
