"""Splits that come from a column or a file."""

import pandas as pd
import pytest

from pipeline.config import Columns, Split
from pipeline.core.folds import fold_numbers, rows_of_fold, write_splits
from pipeline.splits.splitting import split_patients
from tests.splits.schemes import SCHEMES


def test_a_given_split_is_used_as_it_is(patients):
    table = patients(40)
    table["official"] = [("train", "val", "test")[int(patient[1:]) % 3] for patient in table["patient_id"]]
    splits = split_patients(table, Split(), Columns(split="official"))
    for side, rows in rows_of_fold(splits, 0).items():
        assert set(rows["scan_id"]) == set(table.loc[table["official"] == side, "scan_id"])


def test_a_given_train_and_test_without_val_has_its_train_dealt_into_folds(patients):
    table = patients(60)
    table["official"] = ["test" if int(patient[1:]) % 3 == 0 else "train" for patient in table["patient_id"]]
    splits = split_patients(table, Split(num_folds=4), Columns(split="official"))
    assert set(splits.loc[splits["split"] == "test", "scan_id"]) == set(
        table.loc[table["official"] == "test", "scan_id"]
    )
    assert fold_numbers(splits) == [0, 1, 2, 3]


def test_splits_of_one_cohort_can_be_given_to_another_as_a_file(patients, tmp_path):
    table = patients(40)
    splits = split_patients(table, Split(num_folds=3))
    write_splits(tmp_path / "splits.csv", splits)
    again = split_patients(table, Split(file=str(tmp_path / "splits.csv")))
    pd.testing.assert_frame_equal(again.drop(columns="settings"), splits.drop(columns="settings"))


def test_a_scan_on_two_sides_of_a_given_file_is_refused_and_one_said_twice_is_not(patients, tmp_path):
    table = patients(40)
    rows = [f"{scan},{'test' if number % 4 == 0 else 'train'}" for number, scan in enumerate(table["scan_id"])]
    file = tmp_path / "given.csv"
    file.write_text("\n".join(["scan_id,split", *rows, rows[3]]))
    given_once = split_patients(table, Split(file=str(file)))
    assert (given_once["split"] == "test").sum() == -(-len(table) // 4)
    file.write_text("\n".join(["scan_id,split", *rows, f"{table['scan_id'][3]},test"]))
    with pytest.raises(ValueError, match=f"scan '{table['scan_id'][3]}' is in train and in test"):
        split_patients(table, Split(file=str(file)))


@pytest.mark.parametrize(("scheme", "kind"), [("nested", "a nested division"), ("repeated", "repeated divisions")])
def test_a_division_that_a_given_file_cannot_stand_for_is_refused(patients, tmp_path, scheme, kind):
    write_splits(tmp_path / "splits.csv", split_patients(patients(40), *SCHEMES[scheme]))
    with pytest.raises(ValueError, match=f"got {kind}, expected one division"):
        split_patients(patients(40), Split(file=str(tmp_path / "splits.csv")))
