"""Ids that people write in different ways, and tables joined by them."""

import pandas as pd
import pytest

from pipeline.core.ids import check_filled, check_join, normalize_id


@pytest.mark.parametrize("other", ["sub-0012", "SUB 12", "12.0", "12.00", " 012", "１２", "Patient_12"])
def test_spellings_of_one_id_are_equal(other: str) -> None:
    assert normalize_id(other) == normalize_id("12")


@pytest.mark.parametrize("other", ["112", "1-2", "A12", "12.5", "120"])
def test_other_ids_are_not(other: str) -> None:
    assert normalize_id(other) != normalize_id("12")


@pytest.mark.parametrize(("name", "known"), [("7", "007"), ("7.0", "7"), ("p1", "P1"), ("01", "sub-01"), ("a 1", "a1")])
def test_a_join_that_nearly_matches_is_an_error_with_both_spellings(name: str, known: str) -> None:
    with pytest.raises(ValueError, match=rf"cohort.csv: 1 of 2 patients are written .* '{name}' is there as '{known}'"):
        check_join([name, "same"], [known, "same"], what="patient", where="cohort.csv")


def test_a_join_without_any_match_is_an_error_and_what_is_missing_is_returned() -> None:
    with pytest.raises(ValueError, match="none of the 2 patients is there, not 'a1', but 'x1'"):
        check_join(["a1", "b2"], ["x1"], what="patient", where="cohort.csv")
    # 007 is another patient, which is there itself.
    assert check_join(["7", "007", "8"], ["007", "8", "9"], what="patient", where="cohort.csv") == ["7"]


def test_blank_ids_and_empty_tables_are_errors() -> None:
    table = pd.DataFrame({"patient_id": ["a", "", " "]})
    with pytest.raises(ValueError, match="2 rows have no patient_id, such as row 3, 4"):
        check_filled(table, ["patient_id"], "table.csv")
    with pytest.raises(ValueError, match="no rows.*was the file cut off"):
        check_filled(table[:0], ["patient_id"], "table.csv")
