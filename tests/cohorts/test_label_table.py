from pathlib import Path

import pandas as pd
import pytest

from pipeline.cohorts.label_table import check_columns, check_rows, select_columns
from pipeline.config import Columns
from pipeline.core.tables import read_table

ROWS = [["scan_id", "patient_id", "path", "label"], ["007", "0x1", "a b.nii", "yes"], ["1e3", "01.0", "ü.nii", "NA"]]


def write_text(folder: Path, rows, separator=",", encoding="utf-8", newline="\n") -> Path:
    path = folder / "labels.csv"
    path.write_bytes(newline.join(separator.join(row) for row in rows).encode(encoding))
    return path


@pytest.mark.parametrize("kind", ["parquet", "xlsx"])
def test_ids_stored_as_numbers_are_rejected_where_the_table_shows_that_zeros_were_lost(tmp_path, kind):
    table = pd.DataFrame({"scan_id": [7, 12], "patient_id": ["01", "02"], "path": "a", "label": [0, 1]})
    path = tmp_path / f"labels.{kind}"
    write = {"parquet": pd.DataFrame.to_parquet, "xlsx": pd.DataFrame.to_excel}[kind]
    write(table, path, index=False)
    assert check_columns(read_table(path), Columns()) == []
    write(table.assign(path=["scans/007.nii", "scans/012.nii"]), path, index=False)
    (problem,) = check_columns(read_table(path), Columns())
    assert problem.code == "TAB-ID-NUMBER" and "column 'scan_id' has 7 where column 'path' has 007" in problem.found
    write(table.assign(scan_id=[1234567890123456, 1]), path, index=False)
    (problem,) = check_columns(read_table(path), Columns())
    assert problem.code == "TAB-ID-NUMBER" and "keeps 15 digits" in problem.found


def test_missing_columns_are_all_named_with_the_nearest(tmp_path):
    table = read_table(write_text(tmp_path, [["scan_id", "patient", "path", "Label"], ["a", "b", "c", "d"]]))
    problems = check_columns(table, Columns(site="hospital"))
    assert [problem.code for problem in problems] == ["TAB-COLUMN"] * 3
    assert ["'patient_id'" in problems[0].found, "'patient'?" in problems[0].found] == [True, True]
    assert "'Label'?" in problems[1].found
    assert "no 'hospital' among scan_id, patient, path, Label" in problems[2].found


@pytest.mark.parametrize("name", ["label", "shape"])
def test_covariate_with_the_name_of_a_standard_column_is_rejected(tmp_path, name):
    rows = [["scan_id", "patient_id", "path", "dx", name], ["a", "b", "c", "d", "e"]]
    (problem,) = check_columns(read_table(write_text(tmp_path, rows)), Columns(label="dx", clinical=(name,)))
    assert (problem.code, problem.found) == ("TAB-NAME", f"'{name}'")


def test_columns_take_standard_names_and_one_may_play_two_roles(tmp_path):
    rows = [["Subject", "file", "dx", "age", "volume"], ["01", "a.nii", "AD", "70", "3.1"]]
    columns = Columns(
        scan_id="Subject", patient_id="Subject", path="file", label="dx", clinical=("age",), label_source=("volume",)
    )
    table = select_columns(read_table(write_text(tmp_path, rows)), columns)
    assert table.to_dict("records") == [
        {"scan_id": "01", "patient_id": "01", "path": "a.nii", "label": "AD", "age": "70"}
    ]


@pytest.mark.parametrize(
    ("code", "second_row"),
    [
        ("TAB-ID-EMPTY", ["", "p2", "b.nii", "no"]),
        ("TAB-ID-EMPTY", ["s2", " ", "b.nii", "no"]),
        ("TAB-ID-EMPTY", ["nan", "p2", "b.nii", "no"]),
        ("TAB-ID-TWICE", ["s1", "p2", "b.nii", "no"]),
        ("TAB-PADDED", ["s2 ", "p2", "b.nii", "no"]),
        ("TAB-PADDED", ["s2", "\tp2", "b.nii", "no"]),
        ("TAB-PADDED", ["s2", "p2", "b.nii", "no "]),
        ("TAB-LABEL-MISSING", ["s2", "p2", "b.nii", ""]),
        ("TAB-LABEL-MISSING", ["s2", "p2", "b.nii", "NaN"]),
        ("TAB-LABEL-MISSING", ["s2", "p2", "b.nii", "n/a"]),
    ],
)
def test_bad_row_is_named_as_a_spreadsheet_counts_it(code, second_row):
    table = pd.DataFrame([["s1", "p1", "a.nii", "yes"], second_row], columns=["scan_id", "patient_id", "path", "label"])
    found = {problem.code: problem.found for problem in check_rows(table)}
    assert f"row 3 ({second_row[0]!r})" in found[code]


def test_sound_rows_have_no_problems_and_none_is_a_class():
    rows = [["007", "p1", "a.nii", "none"], ["7", "p1", "b.nii", "some"]]
    assert check_rows(pd.DataFrame(rows, columns=["scan_id", "patient_id", "path", "label"])) == []


def test_many_bad_rows_are_counted_after_the_first():
    rows = [[f"s{number}", "p", "a.nii", ""] for number in range(40)]
    (problem,) = check_rows(pd.DataFrame(rows, columns=["scan_id", "patient_id", "path", "label"]))
    assert problem.found.startswith("row 2 ('s0'), row 3 ('s1')") and problem.found.endswith("and 35 more")
