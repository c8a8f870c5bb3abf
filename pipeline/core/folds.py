"""Read and write splits.csv: which scans train, validate and test in each fold.

One row per scan. `split` is development, test, or nested (every scan is test in turn). `fold` is the fold in which the
scan validates; empty where it never does. Repeated divisions have further columns `fold_1`, `fold_2`, … whose
numbers continue those of the column before.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.columns import DEVELOPMENT, FOLD, NESTED, SCAN_ID, SPLIT, TEST, TRAIN, VAL
from pipeline.core.ids import check_as_ingested, check_filled
from pipeline.core.io import write_csv
from pipeline.core.tables import read_table

if TYPE_CHECKING:
    import pandas as pd


def read_splits(path: Path, *, of_earlier_cohort: bool = False) -> "pd.DataFrame":
    """splits.csv with ids as text and fold numbers as nullable integers; it must have all scans that ingest counted."""
    import pandas as pd

    splits = read_table(path, "'dvc repro split' writes it")
    check_filled(splits, [SCAN_ID], str(path))
    if not of_earlier_cohort:
        check_as_ingested(splits, path, "split")
    for column in fold_columns(splits):
        splits[column] = pd.to_numeric(splits[column].where(splits[column] != "")).astype("Int64")
    return splits


def write_splits(path: Path, splits: "pd.DataFrame") -> None:
    """Write splits.csv atomically."""
    write_csv(path, splits)


def fold_columns(splits: "pd.DataFrame") -> list[str]:
    """`fold`, then those of the repeats in their order."""
    repeats = [column for column in splits.columns if column.startswith(f"{FOLD}_")]
    return [FOLD, *sorted(repeats, key=lambda column: int(column.removeprefix(f"{FOLD}_")))]


def fold_numbers(splits: "pd.DataFrame") -> list[int]:
    """Every fold that can be trained, from 0."""
    if is_nested(splits):
        parts = int(splits[FOLD].max()) + 1
        return list(range(parts * (parts - 1)))
    return sorted(int(number) for column in fold_columns(splits) for number in splits[column].dropna().unique())


def rows_of_fold(splits: "pd.DataFrame", fold: int) -> "dict[str, pd.DataFrame]":
    """The rows of splits.csv that train, val and test use in one fold; each patient is in only one of them."""
    known = fold_numbers(splits)
    if fold not in known:
        raise ValueError(f"splits.csv: there is no fold {fold}, expected one of {known}; choose one with fold=….")
    if is_nested(splits):
        return _rows_of_nested_fold(splits, fold)
    column = next(column for column in fold_columns(splits) if (splits[column] == fold).any())
    validates = (splits[column] == fold).fillna(False).astype(bool)
    develops = splits[SPLIT] == DEVELOPMENT
    return {TRAIN: splits[develops & ~validates], VAL: splits[validates], TEST: splits[splits[SPLIT] == TEST]}


def _rows_of_nested_fold(splits: "pd.DataFrame", fold: int) -> "dict[str, pd.DataFrame]":
    parts = int(splits[FOLD].max()) + 1
    outer, inner = divmod(fold, parts - 1)
    val = [part for part in range(parts) if part != outer][inner]
    return {
        TRAIN: splits[~splits[FOLD].isin([outer, val])],
        VAL: splits[splits[FOLD] == val],
        TEST: splits[splits[FOLD] == outer],
    }


def is_nested(splits: "pd.DataFrame") -> bool:
    return bool((splits[SPLIT] == NESTED).any())


def is_development(splits: "pd.DataFrame") -> "pd.Series":
    """Rows that planning may look at: all but the locked test set."""
    return splits[SPLIT] != TEST
