"""A given split, used as it is: a column of the label table, or a file."""

from pathlib import Path

import pandas as pd

from pipeline.config import Columns, Split
from pipeline.core.columns import DEVELOPMENT, FOLD, SCAN_ID, SPLIT, TEST, TRAIN, VAL
from pipeline.core.errors import did_you_mean
from pipeline.core.folds import fold_columns, is_nested
from pipeline.core.io import expand

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
    return _values_of_file(table, expand(settings.file, "split.file"))


def _values_of_file(table: pd.DataFrame, path: Path) -> pd.Series:
    if not path.exists():
        raise FileNotFoundError(f"split.file: {path} does not exist; expected a CSV with columns scan_id and split.")
    content = pd.read_csv(path, dtype=str, keep_default_na=False)
    for column in (SCAN_ID, SPLIT):
        if column not in content:
            raise ValueError(f"{path}: column '{column}' is missing, got {list(content.columns)}; add it.")
    if FOLD in content:
        _check_own(content, path)
        # Our own splits.csv: the number says more than the word development.
        content[SPLIT] = content[FOLD].where(content[FOLD] != "", content[SPLIT])
    absent = sorted(set(table[SCAN_ID]) - set(content[SCAN_ID]))
    if absent:
        raise ValueError(f"{path}: {len(absent)} scans have no row, such as '{absent[0]}'; add them.")
    rows = content[[SCAN_ID, SPLIT]].drop_duplicates()
    twice = rows[rows[SCAN_ID].isin(table[SCAN_ID]) & rows[SCAN_ID].duplicated(keep=False)]
    if len(twice):
        scan, words = twice[SCAN_ID].iloc[0], twice[SPLIT][twice[SCAN_ID] == twice[SCAN_ID].iloc[0]]
        raise ValueError(
            f"{path}: scan '{scan}' is in {' and in '.join(words)}, expected one row; take out the others."
        )
    return table[SCAN_ID].map(rows.set_index(SCAN_ID)[SPLIT])


def _check_own(content: pd.DataFrame, path: Path) -> None:
    """A splits.csv of ours is one division into folds, as a given split is."""
    kind = (
        "a nested division" if is_nested(content) else "repeated divisions" if len(fold_columns(content)) > 1 else None
    )
    if kind:
        raise ValueError(
            f"{path}: got {kind}, expected one division into folds; set split.scheme, num_folds, num_repeats and seed "
            "in place of split.file."
        )


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
