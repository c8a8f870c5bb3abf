"""Properties of splits, on fixed and random cohorts."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import Columns, Split
from pipeline.core.folds import fold_numbers, read_splits, rows_of_fold, write_splits
from pipeline.splits.splitting import split_patients
from tests.splits.schemes import SCHEMES, few_ill


@pytest.mark.parametrize("scheme", SCHEMES)
def test_in_every_fold_every_scan_is_in_one_partition_and_every_partition_has_every_class(patients, scheme):
    table = patients(80)
    splits = split_patients(table, *SCHEMES[scheme])
    for fold in fold_numbers(splits):
        parts = rows_of_fold(splits, fold)
        assert sorted(scan for rows in parts.values() for scan in rows["scan_id"]) == sorted(table["scan_id"])
        people = [set(rows["patient_id"]) for rows in parts.values()]
        assert not people[0] & people[1] and not people[0] & people[2] and not people[1] & people[2]
        assert all(set(rows["label"]) == {"healthy", "lesion"} for rows in parts.values())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_split_depends_on_its_seed_and_not_on_the_order_of_rows(patients, scheme):
    table = patients(60)
    first = split_patients(table, *SCHEMES[scheme])
    shuffled = split_patients(table.sample(frac=1, random_state=1).reset_index(drop=True), *SCHEMES[scheme])
    pd.testing.assert_frame_equal(
        first.sort_values("scan_id", ignore_index=True), shuffled.sort_values("scan_id", ignore_index=True)
    )


def test_each_scan_validates_once_in_folds_and_once_in_each_repeat(patients):
    splits = split_patients(patients(60), Split(num_folds=3, num_repeats=2))
    assert fold_numbers(splits) == [0, 1, 2, 3, 4, 5]
    for folds in ([0, 1, 2], [3, 4, 5]):
        validated = [scan for fold in folds for scan in rows_of_fold(splits, fold)["val"]["scan_id"]]
        assert sorted(validated) == sorted(splits.loc[splits["split"] == "development", "scan_id"])
    assert set(rows_of_fold(splits, 0)["val"]["scan_id"]) != set(rows_of_fold(splits, 3)["val"]["scan_id"])


def test_nested_folds_test_each_scan_and_validate_it_with_each_other_part(patients):
    splits = split_patients(patients(60), Split(scheme="nested", num_folds=3))
    assert fold_numbers(splits) == [0, 1, 2, 3, 4, 5]
    tested = pd.concat([rows_of_fold(splits, fold)["test"] for fold in range(6)])["scan_id"].value_counts()
    validated = pd.concat([rows_of_fold(splits, fold)["val"] for fold in range(6)])["scan_id"].value_counts()
    assert (tested == 2).all() and (validated == 2).all() and len(tested) == len(splits)


def test_sites_validate_one_at_a_time(patients):
    table = patients(60)
    splits = split_patients(table, Split(scheme="sites"), Columns(site="site"))
    site_of = table.set_index("scan_id")["site"]
    sites = [rows_of_fold(splits, fold)["val"]["scan_id"].map(site_of).unique().tolist() for fold in (0, 1, 2)]
    assert sites == [["east"], ["north"], ["south"]]


def test_a_split_by_date_trains_only_on_scans_before_its_test_scans(patients):
    table = patients(60)
    splits = split_patients(table, Split(scheme="dates", num_folds=3), Columns(date="date"))
    last = table.assign(split=splits["split"]).groupby("patient_id").agg({"date": "max", "split": "first"})
    develops = last["split"] == "development"
    assert last.loc[develops, "date"].max() < last.loc[~develops, "date"].min()


def test_scans_that_share_a_family_stay_together(patients):
    table = patients(60)
    table["family"] = [
        "F" + str(int(patient[1:]) // 3) if int(patient[1:]) < 30 else "" for patient in table["patient_id"]
    ]
    splits = split_patients(table, Split(num_folds=3), Columns(group=("family",)))
    partitions = splits.assign(family=table["family"])[table["family"] != ""].groupby("family")[["split", "fold"]]
    assert (partitions.nunique(dropna=False) == 1).all().all()


def test_covariates_are_balanced_as_far_as_the_labels_allow():
    rng = np.random.default_rng(0)
    scans = [f"S{number:03d}" for number in range(120)]
    table = pd.DataFrame({"scan_id": scans, "patient_id": scans, "label": rng.choice(["a", "b"], 120)})
    table["sex"] = rng.choice(["f", "m"], 120)
    splits = split_patients(table, Split(num_folds=4, test_fraction=0, stratify=("sex",)))
    for column in ("label", "sex"):
        counts = pd.crosstab(splits["fold"], table[column])
        assert (counts.max() - counts.min() <= 1).all()


@settings(max_examples=25, deadline=None)
@given(
    scans=st.lists(st.tuples(st.integers(1, 4), st.sampled_from("abc")), min_size=30, max_size=60),
    num_folds=st.integers(2, 4),
    seed=st.integers(0, 5),
)
def test_random_cohorts_are_split_cleanly_or_rejected_if_a_class_is_too_small(scans, num_folds, seed):
    rows = [
        (f"P{patient}-{scan}", f"P{patient}", label)
        for patient, (count, label) in enumerate(scans)
        for scan in range(count)
    ]
    table = pd.DataFrame(rows, columns=["scan_id", "patient_id", "label"])
    patients_of_class = table.drop_duplicates("patient_id")["label"].value_counts()
    if patients_of_class.min() < num_folds + 1:
        with pytest.raises(ValueError, match="too few separate groups"):
            split_patients(table, Split(num_folds=num_folds, seed=seed))
        return
    splits = split_patients(table, Split(num_folds=num_folds, seed=seed))
    assert (splits.groupby("patient_id")[["split", "fold"]].nunique(dropna=False) == 1).all().all()
    assert (pd.crosstab([splits["split"], splits["fold"].fillna(-1)], splits["label"]) > 0).all().all()
    patient_share = 0.75 / num_folds * patients_of_class
    patient_counts = pd.crosstab(splits["fold"], splits["label"], splits["patient_id"], aggfunc="nunique")
    assert ((patient_counts - patient_share).abs() < 1).all().all()
    # A patient has four scans at most.
    share = 0.75 / num_folds * table["label"].value_counts()
    counts = pd.crosstab(splits["fold"], splits["label"])
    assert ((counts - share).abs() < 4).all().all()


@pytest.mark.parametrize("seed", range(6))
def test_patients_of_each_class_are_balanced_before_their_scans(seed):
    """Two of twenty ill patients have twelve scans each; the test set still gets its five ill patients."""
    table = pd.DataFrame(
        [
            (f"P{patient:02d}-{scan}", f"P{patient:02d}", "ill" if patient < 20 else "well")
            for patient in range(60)
            for scan in range(12 if patient in (3, 11) else 1)
        ],
        columns=["scan_id", "patient_id", "label"],
    )
    splits = split_patients(table, Split(seed=seed))
    partition = splits["split"].where(splits["fold"].isna(), splits["fold"].astype(str))
    patients = pd.crosstab(partition, splits["label"], splits["patient_id"], aggfunc="nunique")
    assert patients.loc["test"].to_dict() == {"ill": 5, "well": 10}
    assert (patients.drop("test") == [3, 6]).all().all()
    # Only after that, the many scans: in two partitions, since one would be twice as far from its share.
    ill_scans = pd.crosstab(partition, splits["label"])["ill"]
    assert sorted(ill_scans) == [3, 3, 3, 3, 14, 16]
    assert ill_scans["test"] == 16


@pytest.mark.parametrize(
    ("scheme", "keys", "shares"),
    [
        ("holdout", ["split", "fold"], [0.15, 0.25, 0.6]),
        ("nested", ["split", "fold"], [0.25] * 4),
        ("sites", ["split"], [0.25, 0.75]),
    ],
)
def test_other_schemes_balance_patients_before_scans_too(patients, scheme, keys, shares):
    table = patients(80)
    many = table["patient_id"].isin(table.loc[table["label"] == "lesion", "patient_id"].unique()[:2])
    copies = [table[many].assign(scan_id=table["scan_id"] + f"+{number}") for number in range(8)]
    splits = split_patients(pd.concat([table, *copies], ignore_index=True), *SCHEMES[scheme])
    one_row_each = splits.drop_duplicates("patient_id")
    counts = one_row_each.groupby([*keys, "label"], dropna=False).size().unstack()
    expected = np.outer(shares, one_row_each["label"].value_counts().sort_index())
    assert (np.abs(np.sort(counts, axis=0) - expected) < 1).all()


def test_classes_that_are_too_small_are_rejected_with_the_largest_number_of_folds_that_works(patients):
    table = patients(40)
    ill = table.loc[table["label"] == "lesion", "patient_id"].unique()[4:]
    table.loc[table["patient_id"].isin(ill), "label"] = "healthy"
    with pytest.raises(ValueError, match=r"'lesion' in 4, expected at least 6.*split\.num_folds=3"):
        split_patients(table, Split(num_folds=5))
    assert fold_numbers(split_patients(table, Split(num_folds=3))) == [0, 1, 2]


@pytest.mark.parametrize(
    ("settings_", "columns", "num_ill", "remedy"),
    [
        (Split(num_folds=5), Columns(), 4, "split.num_folds=3"),
        (Split(num_folds=5, num_repeats=2), Columns(), 4, "split.num_folds=3"),
        (Split(num_folds=5), Columns(split="official"), 4, "split.num_folds=3"),
        (Split(scheme="nested", num_folds=6), Columns(), 4, "split.num_folds=4"),
        (Split(scheme="nested", num_folds=6), Columns(), 2, "no number of folds works: add patients, or merge classes"),
        (Split(scheme="holdout"), Columns(), 2, "set split.test_fraction=0"),
        (Split(), Columns(), 2, "set split.num_folds=2 and split.test_fraction=0"),
        (Split(), Columns(), 1, "no number of folds works: add patients, or merge classes"),
    ],
)
def test_the_remedy_for_too_few_patients_of_a_class_is_one_that_works(patients, settings_, columns, num_ill, remedy):
    table = few_ill(patients(60), num_ill)
    is_test = (table["label"] == "lesion") & (
        table["patient_id"] == table["patient_id"][table["label"] == "lesion"].iloc[0]
    )
    table["official"] = np.where(is_test, "test", "train")
    with pytest.raises(ValueError, match=f"{remedy}\\.") as rejected:
        split_patients(table, settings_, columns)
    if "=" in remedy:
        key, value = remedy.rpartition("split.")[2].split("=")
        changes = {key: int(value)} | ({"num_folds": 2} if "num_folds=2" in remedy else {})
        assert len(split_patients(table, settings_.model_copy(update=changes), columns)) == len(table)
    assert "lesion" in str(rejected.value)


@pytest.mark.parametrize(
    ("settings_", "columns", "key"),
    [
        (Split(scheme="dates", num_folds=3), Columns(date="date"), "test_fraction"),
        (Split(scheme="sites", test_sites=("east",)), Columns(site="site"), "test_sites"),
    ],
)
def test_a_chosen_test_set_without_a_class_is_rejected(patients, settings_, columns, key):
    table = patients(60)
    late = (table["date"] >= "2012") | (table["site"] == "east")
    with pytest.raises(ValueError, match=f"without class 'lesion', expected every class; change split.{key}"):
        split_patients(table.assign(label=table["label"].where(~late, "healthy")), settings_, columns)


def test_a_test_set_by_date_is_rejected_if_all_scans_are_from_one_day(patients):
    with pytest.raises(ValueError, match="a test set of 0 scans"):
        split_patients(patients(60).assign(date="2020-01-01"), *SCHEMES["dates"])


def test_splits_survive_their_file(patients, tmp_path):
    splits = split_patients(patients(40), Split(num_folds=3, num_repeats=2))
    write_splits(tmp_path / "splits.csv", splits)
    pd.testing.assert_frame_equal(read_splits(tmp_path / "splits.csv"), splits)


@pytest.mark.parametrize(
    ("settings_", "columns", "message"),
    [
        (Split(stratify=("agee",)), Columns(), "no column 'agee'. Did you mean 'age'"),
        (Split(scheme="sites"), Columns(), "needs columns.site"),
        (Split(scheme="dates"), Columns(date="age"), "expected a date"),
        (Split(scheme="nested", num_repeats=2), Columns(), "num_repeats needs scheme"),
        (Split(scheme="nested", num_folds=2), Columns(), "got 2, expected 3"),
        (Split(test_sites=("east",)), Columns(), "test_sites needs scheme"),
        (Split(scheme="sites", test_sites=("eats",)), Columns(site="site"), "unknown site 'eats'. Did you mean 'east'"),
        (Split(), Columns(split="site"), "unknown split 'east'"),
        (Split(scheme="holdout"), Columns(split="site"), "cannot be combined with a given split"),
        (Split(file="nowhere.csv"), Columns(split="site"), "both give a split"),
    ],
)
def test_settings_that_do_not_fit_the_table_are_rejected(patients, settings_, columns, message):
    with pytest.raises(ValueError, match=message):
        split_patients(patients(40), settings_, columns)


def test_a_fold_that_does_not_exist_is_rejected_with_those_that_exist(patients):
    splits = split_patients(patients(40), Split(num_folds=3))
    with pytest.raises(ValueError, match=r"no fold 3, expected one of \[0, 1, 2\]"):
        rows_of_fold(splits, 3)
