"""Split schemes: beside an earlier split, by date, by site, and given by the user."""

import pandas as pd
import pytest

from pipeline.config import Columns, Split
from pipeline.core.folds import fold_numbers, rows_of_fold, write_splits
from pipeline.splits.schemes import older_scans_in_test
from pipeline.splits.splitting import split_patients
from tests.splits.schemes import SCHEMES, few_ill


@pytest.mark.parametrize("scheme", SCHEMES)
def test_patients_keep_their_partition_when_others_join(patients, scheme):
    before = split_patients(patients(60), *SCHEMES[scheme])
    after = split_patients(patients(95), *SCHEMES[scheme], previous=before)
    kept = after[after["scan_id"].isin(before["scan_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, before)
    assert set(after["scan_id"]) == set(patients(95)["scan_id"])


def test_if_earlier_partitions_make_a_split_impossible_the_remedy_is_to_delete_them(patients):
    table = few_ill(patients(60), 6)
    before = split_patients(table, Split(num_folds=3))
    ill = before.loc[(before["label"] == "lesion") & (before["fold"] == 0), "patient_id"].unique()
    table.loc[table["patient_id"].isin(ill), "label"] = "healthy"
    with pytest.raises(ValueError, match="delete splits.csv"):
        split_patients(table, Split(num_folds=3), previous=before)
    assert fold_numbers(split_patients(table, Split(num_folds=3))) == [0, 1, 2]


def test_splitting_again_changes_nothing(patients):
    table = patients(60)
    first = split_patients(table, Split(num_repeats=2))
    pd.testing.assert_frame_equal(split_patients(table, Split(num_repeats=2), previous=first), first)


def test_another_seed_is_another_split_even_beside_an_earlier_one(patients):
    table = patients(60)
    first = split_patients(table, Split(seed=0))
    second = split_patients(table, Split(seed=1), previous=first)
    assert (first["fold"].fillna(-1) != second["fold"].fillna(-1)).any()
    pd.testing.assert_frame_equal(second, split_patients(table, Split(seed=1)))


@pytest.mark.parametrize(
    "leak_setting",
    [
        *({"accepted_leaks": ("same-file-00000000",)}, {"accepted_leaks_file": "a.csv"}),
        *({"pretraining_patients": "a"}, {"statistics_patients": "b"}),
    ],
)
def test_settings_of_the_leak_check_move_no_patient(patients, leak_setting, caplog):
    before = split_patients(patients(60), Split(num_folds=3))
    after = split_patients(patients(95), Split(num_folds=3, **leak_setting), previous=before)
    pd.testing.assert_frame_equal(after[after["scan_id"].isin(before["scan_id"])].reset_index(drop=True), before)
    assert not caplog.records


def test_default_settings_continue_a_split_and_other_settings_give_a_warning(patients, caplog):
    written_out = Split(**Split().model_dump())
    first = split_patients(patients(60), written_out)
    pd.testing.assert_frame_equal(split_patients(patients(60), Split(), previous=first), first)
    assert not caplog.records
    split_patients(patients(60), Split(seed=1), previous=first)
    assert "split again" in caplog.text


def test_a_patient_whose_given_partition_is_corrected_moves_and_others_stay(patients):
    table = patients(60)
    table["official"] = ["test" if int(patient[1:]) % 3 == 0 else "train" for patient in table["patient_id"]]
    settings_, columns = Split(num_folds=3), Columns(split="official")
    before = split_patients(table, settings_, columns)
    table.loc[table["patient_id"] == "P00003", "official"] = "train"
    after = split_patients(table, settings_, columns, previous=before)
    others = table["patient_id"] != "P00003"
    pd.testing.assert_frame_equal(after[others], before[others])
    assert set(after.loc[~others, "split"]) == {"development"} and after.loc[~others, "fold"].notna().all()


@pytest.mark.parametrize(("split", "date"), [("test", "1999-01-01"), ("development", "2030-01-01")])
def test_a_patient_whose_date_is_corrected_stays_in_their_partition(patients, split, date):
    table, (settings_, columns) = patients(60), SCHEMES["dates"]
    before = split_patients(table, settings_, columns)
    moved = before.loc[before["split"] == split, "patient_id"].iloc[0]
    table.loc[table["patient_id"] == moved, "date"] = date
    pd.testing.assert_frame_equal(split_patients(table, settings_, columns, previous=before), before)


def test_older_scans_of_patients_in_a_test_set_by_date_are_said(patients):
    table, (settings_, columns) = patients(60), SCHEMES["dates"]
    # One patient of the test set was scanned twenty years before, too.
    splits = split_patients(table, settings_, columns)
    last_of_development = table["date"][splits["split"] == "development"].max()
    assert older_scans_in_test(table, splits, columns, settings_) is None
    patient = splits.loc[splits["split"] == "test", "patient_id"].iloc[0]
    rows = table[table["patient_id"] == patient].iloc[:1].assign(scan_id="earlier", date="1990-02-03")
    longer = pd.concat([table, rows], ignore_index=True)
    said = older_scans_in_test(longer, split_patients(longer, settings_, columns), columns, settings_)
    num_test = (split_patients(longer, settings_, columns)["split"] == "test").sum()
    assert f"1 of {num_test} test scans, of 1 patients, are no later than {last_of_development}" in said
    assert older_scans_in_test(longer, split_patients(longer, Split()), columns, Split()) is None


@pytest.mark.parametrize("others", ["2020-05-01T10:00:00-05:00", "2020-05-01T10:00:00", "2020-05-01"])
def test_dates_of_several_time_zones_are_rejected_by_name(patients, others):
    table, (settings_, columns) = patients(60), SCHEMES["dates"]
    table["date"] = [f"20{10 + number % 10}-05-01T10:00:00+02:00" for number in range(len(table))]
    split_patients(table, settings_, columns)
    table.loc[3, "date"] = others
    with pytest.raises(
        ValueError, match="2 time zones, expected one: scan .* write every date as YYYY-MM-DD"
    ) as caught:
        split_patients(table, settings_, columns)
    assert repr(others) in str(caught.value) and table["scan_id"][3] in str(caught.value)


def test_one_zone_in_two_spellings_is_one(patients):
    table, (settings_, columns) = patients(60), SCHEMES["dates"]
    table["date"] = [f"20{10 + n % 10}-05-01T10:00:00{'Z' if n % 2 else '+00:00'}" for n in range(len(table))]
    assert "test" in set(split_patients(table, settings_, columns)["split"])


def test_a_corrected_site_is_rejected_and_a_renamed_one_is_not(patients):
    table, (settings_, columns) = patients(60), SCHEMES["sites"]
    before = split_patients(table, settings_, columns)
    renamed = table.assign(site=table["site"].replace("east", "East"))
    pd.testing.assert_frame_equal(split_patients(renamed, settings_, columns, previous=before), before)
    moved = before.loc[before["fold"] == 0, "patient_id"].iloc[0]
    for site in ("south", "a new one"):
        corrected = table.assign(site=table["site"].where(table["patient_id"] != moved, site))
        with pytest.raises(ValueError, match="a site was corrected since"):
            split_patients(corrected, settings_, columns, previous=before)


def test_patients_of_one_family_in_two_partitions_are_rejected(patients):
    table = patients(40)
    table["family"] = ""
    before = split_patients(table, Split(), Columns(group=("family",)))
    test, train = (before.loc[before["split"] == split, "patient_id"].iloc[0] for split in ("test", "development"))
    table.loc[table["patient_id"].isin([test, train]), "family"] = "F1"
    with pytest.raises(ValueError, match="are one group now"):
        split_patients(table, Split(), Columns(group=("family",)), previous=before)


def test_a_given_split_is_used_as_it_is(patients):
    table = patients(40)
    table["official"] = [("train", "val", "test")[int(patient[1:]) % 3] for patient in table["patient_id"]]
    splits = split_patients(table, Split(), Columns(split="official"))
    for part, rows in rows_of_fold(splits, 0).items():
        assert set(rows["scan_id"]) == set(table.loc[table["official"] == part, "scan_id"])


def test_the_train_scans_of_a_given_split_without_val_are_assigned_to_folds(patients):
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


def test_a_scan_with_two_values_in_a_given_file_is_rejected_and_a_repeated_row_is_not(patients, tmp_path):
    table = patients(40)
    rows = [f"{scan},{'test' if number % 4 == 0 else 'train'}" for number, scan in enumerate(table["scan_id"])]
    file = tmp_path / "given.csv"
    file.write_text("\n".join(["scan_id,split", *rows, rows[3]]))
    given_once = split_patients(table, Split(file=str(file)))
    assert (given_once["split"] == "test").sum() == -(-len(table) // 4)
    file.write_text("\n".join(["scan_id,split", *rows, f"{table['scan_id'][3]},test"]))
    with pytest.raises(ValueError, match=f"scan '{table['scan_id'][3]}' is in train and in test"):
        split_patients(table, Split(file=str(file)))


@pytest.mark.parametrize(("scheme", "kind"), [("nested", "a nested split"), ("repeated", "repeated splits")])
def test_a_nested_or_repeated_splits_file_is_rejected_as_a_given_split(patients, tmp_path, scheme, kind):
    write_splits(tmp_path / "splits.csv", split_patients(patients(40), *SCHEMES[scheme]))
    with pytest.raises(ValueError, match=f"got {kind}, expected one split"):
        split_patients(patients(40), Split(file=str(tmp_path / "splits.csv")))
