"""Case mix: labels and covariates of the patients of each part of the split, and how far the test set differs.

Differences are standardized: of means or shares, over the standard deviation within groups (Austin, Statistics in
Medicine 28:3083, 2009), so that they do not depend on the unit or the number of patients.
"""

import numpy as np
import pandas as pd

from pipeline.core.columns import DEVELOPMENT, LABEL, LABEL_SEPARATOR, PATIENT_ID, SPLIT, TEST
from pipeline.evaluation.covariates import Covariates

MAX_CATEGORIES = 6
"""Most common values of a column that are shown; a number with more values has quartiles."""
IMBALANCE = 0.1
"""Standardized difference from which groups are usually called unbalanced."""
MISSING = "missing"
COLUMNS = ["covariate", "category", SPLIT, "num_patients", "value", "low_quartile", "high_quartile", "difference"]


def case_mix(covariates: Covariates | None) -> pd.DataFrame:
    """One row per covariate or category and part of the split, from the first scan of each patient.

    `value` is a median with its quartiles, or a share of the known values; `difference` is that of test from
    development. Empty where no split is known.
    """
    if covariates is None or covariates.splits is None:
        return pd.DataFrame(columns=COLUMNS)
    split_of = covariates.splits.drop_duplicates(PATIENT_ID).set_index(PATIENT_ID)[SPLIT]
    patients = covariates.cohort.drop_duplicates(PATIENT_ID).set_index(PATIENT_ID)
    splits = split_of.reindex(patients.index)
    names = [*([LABEL] if LABEL in patients else []), *covariates.subgroup_columns]
    rows = [row for name in names for row in covariate_rows(name, patients[name].astype(str), splits)]
    return pd.DataFrame(rows, columns=COLUMNS)


def covariate_rows(name: str, values: pd.Series, splits: pd.Series) -> list[tuple[object, ...]]:
    """A number as one block of rows, categories as one each, then the missing values if there are any."""
    missing = is_missing(values)
    if is_number(values):
        blocks = {"": pd.to_numeric(values[~missing])}
    elif name == LABEL:
        present = values[~missing].str.split(LABEL_SEPARATOR)
        classes = present.explode().value_counts().index[: 2 * MAX_CATEGORIES]
        blocks = {value: present.map(lambda found, value=value: value in found).astype(bool) for value in classes}
    else:
        common = values[~missing].value_counts().index[:MAX_CATEGORIES]
        blocks = {value: values[~missing] == value for value in common}
    if missing.any():
        blocks[MISSING] = missing
    return [row for category, block in blocks.items() for row in block_rows(name, category, block, splits)]


def block_rows(name: str, category: str, block: pd.Series, splits: pd.Series) -> list[tuple[object, ...]]:
    """One row per part of the split."""
    parts = {split: block[splits.reindex(block.index) == split] for split in sorted(splits.dropna().unique())}
    difference = np.nan
    if {DEVELOPMENT, TEST} <= set(parts):
        difference = standardized_difference(parts[DEVELOPMENT], parts[TEST])
    rows = []
    for split, part in parts.items():
        is_share = block.dtype == bool
        quartiles = [np.nan] * 3 if part.empty else [part.mean(), np.nan, np.nan] if is_share else summary_of(part)
        rows.append((name, category, split, len(part), *quartiles, difference if split == TEST else np.nan))
    return rows


def summary_of(numbers: pd.Series) -> list[float]:
    """Median, first and third quartile."""
    low, middle, high = numbers.quantile([0.25, 0.5, 0.75])
    return [middle, low, high]


def is_missing(values: pd.Series) -> pd.Series:
    return values.isna() | (values.astype(str).str.strip() == "")


def is_number(values: pd.Series) -> bool:
    """Are all known values numbers, and too many to be codes?"""
    filled = values[~is_missing(values)]
    return bool(pd.to_numeric(filled, errors="coerce").notna().all()) and filled.nunique() > MAX_CATEGORIES


def standardized_difference(first: pd.Series, second: pd.Series) -> float:
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
