from pathlib import Path

import pandas as pd
import pytest

from pipeline.core.folds import (
    fold_columns,
    fold_numbers,
    is_development,
    is_nested,
    read_splits,
    rows_of_fold,
    write_splits,
)


def table(**columns: list) -> pd.DataFrame:
    """splits.csv with scans s0, s1, …; folds are nullable integers."""
    scans = len(next(iter(columns.values())))
    folds = {name: pd.array(values, "Int64") for name, values in columns.items() if name.startswith("fold")}
    return pd.DataFrame({"scan_id": [f"s{number}" for number in range(scans)], **columns, **folds})


FOLDS = table(split=["development"] * 4 + ["test"], fold=[0, 0, 1, 1, None])
REPEATED = table(split=["development"] * 4, fold=[0, 0, 1, 1], fold_1=[2, 3, 2, 3])
NESTED = table(split=["nested"] * 3, fold=[0, 1, 2])


def scans(splits: pd.DataFrame, fold: int) -> dict[str, list[str]]:
    return {name: rows["scan_id"].tolist() for name, rows in rows_of_fold(splits, fold).items()}


def test_a_fold_validates_its_own_scans_and_trains_on_the_other_development_scans() -> None:
    assert fold_numbers(FOLDS) == [0, 1]
    assert scans(FOLDS, 1) == {"train": ["s0", "s1"], "val": ["s2", "s3"], "test": ["s4"]}


def test_a_scan_without_a_fold_always_trains() -> None:
    holdout = table(split=["development"] * 3 + ["test"], fold=[0, None, None, None])
    assert scans(holdout, 0) == {"train": ["s1", "s2"], "val": ["s0"], "test": ["s3"]}


def test_folds_of_a_repeat_come_from_its_own_column() -> None:
    assert fold_columns(REPEATED) == ["fold", "fold_1"]
    assert fold_numbers(REPEATED) == [0, 1, 2, 3]
    assert scans(REPEATED, 2) == {"train": ["s1", "s3"], "val": ["s0", "s2"], "test": []}


def test_columns_of_repeats_are_ordered_by_number() -> None:
    many = table(split=["development"] * 2, fold=[0, 1], fold_10=[20, 21], fold_2=[4, 5])
    assert fold_columns(many) == ["fold", "fold_2", "fold_10"]


def test_each_part_of_a_nested_division_is_test_and_each_other_part_validates_in_turn() -> None:
    assert is_nested(NESTED) and not is_nested(FOLDS)
    assert fold_numbers(NESTED) == list(range(6))
    assert scans(NESTED, 0) == {"train": ["s2"], "val": ["s1"], "test": ["s0"]}
    assert scans(NESTED, 3) == {"train": ["s0"], "val": ["s2"], "test": ["s1"]}


def test_an_unknown_fold_is_reported_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no fold 7.*\[0, 1\].*fold="):
        rows_of_fold(FOLDS, 7)


def test_the_locked_test_set_is_no_development() -> None:
    assert is_development(FOLDS).tolist() == [True, True, True, True, False]


def test_splits_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    write_splits(path, FOLDS.assign(scan_id=["001", "2", "3", "NA", "5"]))
    read = read_splits(path)
    assert read["scan_id"].tolist() == ["001", "2", "3", "NA", "5"]
    assert read["fold"].tolist()[:4] == [0, 0, 1, 1] and pd.isna(read["fold"][4])


def test_a_missing_table_names_the_stage_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="splits.csv is missing.*split"):
        read_splits(tmp_path / "splits.csv")
