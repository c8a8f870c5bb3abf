import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.predictions import (
    aggregate_by_patient,
    average_folds,
    check_predictions,
    class_names,
    read_folds,
    read_predictions,
)


def table(rows, columns="scan_id patient_id label prob_a prob_b") -> pd.DataFrame:
    return pd.DataFrame(rows, columns=columns.split())


GOOD = [["s1", "p1", "a", 0.9, 0.1], ["s2", "p2", "b", 0.2, 0.8]]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, "scan 's2' has prob_b = nan, expected a number from 0 to 1"),
        (-0.1, "scan 's2' has prob_b = -0.1"),
        (1.5, "scan 's2' has prob_b = 1.5"),
        ("high", "scan 's2' has prob_b = high"),
        ("", "scan 's2' has prob_b = an empty cell"),
        (0.3, "probabilities of scan 's2' sum to 0.5, expected 1"),
    ],
)
def test_an_impossible_probability_is_refused_naming_scan_and_value(value, words):
    rows = [GOOD[0], ["s2", "p2", "b", 0.2, value]]
    with pytest.raises(ValueError, match=words):
        check_predictions(table(rows))


def test_an_unknown_label_suggests_the_nearest_class():
    rows = [["s1", "p1", "lesoin", 0.9, 0.1]]
    with pytest.raises(ValueError, match="Did you mean 'lesion'"):
        check_predictions(table(rows, "scan_id patient_id label prob_healthy prob_lesion"))


def test_a_missing_column_is_named_with_its_nearest():
    with pytest.raises(ValueError, match="'patient_id' is missing. Did you mean 'patientid'"):
        check_predictions(table(GOOD, "scan_id patientid label prob_a prob_b"))


def test_a_single_probability_column_is_refused():
    with pytest.raises(ValueError, match="each of two classes or more, got prob_a"):
        check_predictions(table([["s1", "p1", "a", 1.0]], "scan_id patient_id label prob_a"))


def test_a_class_whose_name_would_read_as_two_labels_is_refused():
    rows = [["s1", "p1", "a", 0.9, 0.05, 0.05], ["s2", "p2", "a;b", 0.2, 0.1, 0.7]]
    with pytest.raises(ValueError, match="class 'a;b' has a ';', which joins the labels of a scan; rename the class"):
        check_predictions(table(rows, "scan_id patient_id label prob_a prob_b prob_a;b"))


def test_a_patient_in_test_and_validation_is_refused():
    rows = [["s1", "p1", "a", 0.9, 0.1, "val"], ["s2", "p1", "a", 0.9, 0.1, "test"]]
    with pytest.raises(ValueError, match="patient p1 is in test and val of fold 0"):
        check_predictions(table(rows, "scan_id patient_id label prob_a prob_b split"))


def test_a_scan_of_two_patients_is_refused():
    with pytest.raises(ValueError, match="scan 's1' has several values of patient_id: p1, p2"):
        check_predictions(table([["s1", "p1", "a", 0.9, 0.1], ["s1", "p2", "a", 0.9, 0.1]]))


def test_a_scan_twice_in_a_fold_is_refused():
    with pytest.raises(ValueError, match="appears twice in fold 0"):
        check_predictions(table([GOOD[0], GOOD[0]]))


def test_a_fold_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="has fold 'first', expected a whole number"):
        check_predictions(table([[*GOOD[0], "first"]], "scan_id patient_id label prob_a prob_b fold"))


def test_a_bare_table_is_one_test_set():
    checked = check_predictions(table(GOOD))
    assert set(checked["split"]) == {"test"}
    assert set(checked["fold"]) == {0}


def test_reading_keeps_ids_as_text_and_a_class_called_na(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text("scan_id,patient_id,label,prob_NA,prob_None\n007,01,NA,0.75,0.25\n008,1,None,0.5,0.5\n")
    read = read_predictions(path)
    assert read["scan_id"].tolist() == ["007", "008"]
    assert read["patient_id"].nunique() == 2
    assert class_names(read) == ["NA", "None"]
    assert read["prob_NA"].tolist() == [0.75, 0.5]


def test_a_missing_file_says_who_writes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="pipeline.predict"):
        read_predictions(tmp_path / "predictions.csv")


def test_folds_with_other_classes_are_refused(tmp_path):
    table(GOOD).to_csv(tmp_path / "fold-0-seed-0.csv", index=False)
    swapped = "scan_id patient_id label prob_b prob_a"
    table(GOOD, swapped).to_csv(tmp_path / "fold-1-seed-0.csv", index=False)
    with pytest.raises(ValueError, match="fold-1-seed-0.csv: expected the classes"):
        read_folds([tmp_path / "fold-0-seed-0.csv", tmp_path / "fold-1-seed-0.csv"])


def test_test_scans_get_the_mean_of_the_folds_and_validation_scans_stay_apart():
    rows = [
        ["s1", "p1", "a", 0.9, 0.1, 0, "test"],
        ["s1", "p1", "a", 0.5, 0.5, 1, "test"],
        ["s2", "p2", "b", 0.2, 0.8, 0, "val"],
        ["s3", "p3", "b", 0.4, 0.6, 1, "val"],
    ]
    averaged = average_folds(table(rows, "scan_id patient_id label prob_a prob_b fold split")).set_index("scan_id")
    assert averaged.loc["s1", "prob_b"] == pytest.approx(0.3)
    assert averaged["fold"].to_dict() == {"s1": -1, "s2": 0, "s3": 1}


SCANS = [
    ["s1", "p1", "b", 0.9, 0.1, 0, "test"],
    ["s2", "p1", "b", 0.4, 0.6, 0, "test"],
    ["s3", "p2", "a", 0.7, 0.3, 0, "test"],
]


@pytest.mark.parametrize(("rule", "expected"), [("mean", 0.35), ("max", 0.6)])
def test_a_patient_gets_one_row_by_the_stated_rule(rule, expected):
    scans = table(SCANS, "scan_id patient_id label prob_a prob_b fold split")
    patients = aggregate_by_patient(scans, rule).set_index("patient_id")
    assert patients.loc["p1", "prob_b"] == pytest.approx(expected)
    assert patients.loc["p2", "prob_b"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    "written",
    [("0.333", "0.333", "0.333"), ("0.33", "0.33", "0.33"), ("1.00000012", "0.0", "0.0"), ("0.5", ".333", ".166")],
)
def test_probabilities_that_are_off_by_their_written_digits_are_scaled(tmp_path, written):
    path = tmp_path / "predictions.csv"
    path.write_text(f"scan_id,patient_id,label,prob_a,prob_b,prob_c\ns,p,a,{','.join(written)}\n")
    probs = read_predictions(path)[["prob_a", "prob_b", "prob_c"]].to_numpy()[0]
    values = np.array(written, float)
    np.testing.assert_allclose(probs, values / values.sum(), atol=1e-6)
    assert probs.sum() == pytest.approx(1, abs=1e-12) and probs.max() <= 1


@pytest.mark.parametrize("written", ["0.3,0.3,0.3", "0.33,0.33,0.36", "0.3333,0.3333,0.3300", "1.00001,0.0,0.0"])
def test_probabilities_that_are_further_off_are_refused(tmp_path, written):
    path = tmp_path / "predictions.csv"
    path.write_text(f"scan_id,patient_id,label,prob_a,prob_b,prob_c\ns,p,a,{written}\n")
    with pytest.raises(ValueError, match=r"sum to|expected a number from 0 to 1"):
        read_predictions(path)


def test_blank_ids_are_refused():
    with pytest.raises(ValueError, match="1 rows have no patient_id, such as row 3"):
        check_predictions(table([GOOD[0], ["s2", " ", "b", 0.2, 0.8]]))
