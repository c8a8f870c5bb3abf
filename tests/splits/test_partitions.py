"""Groups of scans, and spellings of patient ids."""

import pytest

from pipeline.core.ids import spelling_variants
from pipeline.splits.partitions import read_patients


@pytest.mark.parametrize(
    "ids",
    [
        ("P007", "p-7"),
        ("sub-0012", "12"),
        ("SUB 12", "Patient_012"),
        ("\uff21\uff11", "a1"),
        ("1-12", "01_12"),
        ("x-y", "XY"),
    ],
)
def test_spellings_of_one_id_are_found(ids):
    assert spelling_variants(ids) == [sorted(ids)]


@pytest.mark.parametrize(
    "ids", [("P7", "P70"), ("A12", "B12"), ("1-12", "11-2"), ("100", "1"), ("sub-a", "a"), ("P10", "P100")]
)
def test_different_ids_are_not_confused(ids):
    assert spelling_variants(ids) == []


def test_a_list_of_patients_is_read_by_line_and_a_missing_file_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "seen.txt").write_text("\ufeffP001\n\nsub-2\n", encoding="utf-8")
    monkeypatch.setenv("LISTS", str(tmp_path))
    assert read_patients("${LISTS}/seen.txt", "split.pretraining_patients") == {"p1", "2"}
    with pytest.raises(FileNotFoundError, match="pretraining_patients"):
        read_patients("${LISTS}/unseen.txt", "split.pretraining_patients")
    with pytest.raises(ValueError, match="split.pretraining_patients: .* environment variable NOWHERE"):
        read_patients("$NOWHERE/seen.txt", "split.pretraining_patients")
