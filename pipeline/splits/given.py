"""A given split, used as it is: a column of the label table, or a file."""

import os
from pathlib import Path

import pandas as pd

from pipeline.artifacts import DEVELOPMENT, FOLD, SCAN_ID, SPLIT, TEST, TRAIN, VAL
from pipeline.config import Columns, Split
from pipeline.errors import did_you_mean

WORDS = {TRAIN: DEVELOPMENT, DEVELOPMENT: DEVELOPMENT, VAL: DEVELOPMENT, TEST: TEST}


def given_values(table: pd.DataFrame, columns: Columns, settings: Split) -> pd.Series | None:
    """train, val, test or a fold's number for each row of `table`; None where no split is given."""
    if not columns.split and not settings.file:
        return None
    if columns.split and settings.file:
        raise ValueError(f"split.file: '{settings.file}' is given beside columns.split '{columns.split}'; keep one.")
    if settings.scheme != "folds" or settings.num_repeats != 1:
        raise ValueError(
            f"split.scheme '{settings.scheme}' with {settings.num_repeats} repeats cannot go with a given split, "
            "which is used as it is; take out columns.split and split.file, or the scheme."
        )
    if columns.split:
        return table[columns.split].astype(str).str.strip()
    return _values_of_file(table, Path(os.path.expandvars(settings.file)))


def _values_of_file(table: pd.DataFrame, path: Path) -> pd.Series:
    if not path.exists():
        raise FileNotFoundError(f"split.file: {path} does not exist; expected a CSV with columns scan_id and split.")
    content = pd.read_csv(path, dtype=str, keep_default_na=False)
    for column in (SCAN_ID, SPLIT):
        if column not in content:
            raise ValueError(f"{path}: column '{column}' is missing, got {list(content.columns)}; add it.")
    if FOLD in content:
        # Our own splits.csv: the number says more than the word development.
        content[SPLIT] = content[FOLD].where(content[FOLD] != "", content[SPLIT])
    absent = sorted(set(table[SCAN_ID]) - set(content[SCAN_ID]))
    if absent:
        raise ValueError(f"{path}: {len(absent)} scans have no row, such as '{absent[0]}'; add them.")
    return table[SCAN_ID].map(content.drop_duplicates(SCAN_ID).set_index(SCAN_ID)[SPLIT])


def places_of(values: pd.Series, where: str) -> pd.DataFrame:
    """`split` and `fold` of each row for its given word or number; val is fold 0, train never validates."""
    numbers = values.where(values.str.fullmatch(r"\d+")).astype("Int64")
    unknown = sorted(set(values[numbers.isna()]) - set(WORDS))
    if unknown:
        raise ValueError(
            f"{where}: unknown split '{unknown[0]}', expected {TRAIN}, {VAL}, {TEST} or a fold's number."
            f"{did_you_mean(unknown[0], WORDS)}"
        )
    if numbers.notna().any() and (values == VAL).any():
        raise ValueError(f"{where}: both '{VAL}' and fold numbers stand there, expected one way; keep the numbers.")
    split = values.map(WORDS).where(numbers.isna(), DEVELOPMENT)
    return pd.DataFrame({SPLIT: split, FOLD: numbers.where(values != VAL, 0)})
