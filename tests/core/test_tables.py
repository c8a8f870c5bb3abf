"""Tables from files of several formats, as text, and their explicit conversion."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.core.io import write_csv
from pipeline.core.tables import parse_values, read_table

ROWS = [["scan_id", "patient_id", "path", "label"], ["007", "0x1", "a b.nii", "yes"], ["1e3", "01.0", "ü.nii", "NA"]]


def write_text(folder: Path, separator: str = ",", encoding: str = "utf-8", newline: str = "\n") -> Path:
    path = folder / "labels.csv"
    path.write_bytes(newline.join(separator.join(row) for row in ROWS).encode(encoding))
    return path


@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_text_tables_are_read_as_they_were_written(tmp_path: Path, separator: str, encoding: str, newline: str) -> None:
    table = read_table(write_text(tmp_path, separator, encoding, newline))
    assert [list(table.columns), *table.values.tolist()] == ROWS


def test_parquet_keeps_text_ids_and_empties_missing_cells(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    pd.DataFrame({"scan_id": ["007", "008"], "age": [61.5, None], "label": ["yes", None]}).to_parquet(path)
    assert read_table(path).values.tolist() == [["007", "61.5", "yes"], ["008", "", ""]]


def test_excel_keeps_text_ids_and_empties_missing_cells(tmp_path: Path) -> None:
    path = tmp_path / "labels.xlsx"
    pd.DataFrame({"scan_id": ["007", "008"], "label": ["yes", None]}).to_excel(path, index=False)
    assert read_table(path).values.tolist() == [["007", "yes"], ["008", ""]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"scan_id,label\na,b,c\n", "row 2 has 3 cells, its header 2"),
        (b"scan_id,label,label\na,b,c\n", "column 'label' occurs twice"),
        (b"scan_id,label\n\xff\xfe,b\n", "UTF-8"),
        (b'scan_id,label\n"a,b\n', "not a table"),
        (b"PK\x03\x04 not a workbook", "not an Excel table"),
    ],
)
def test_a_broken_table_is_rejected_with_file_and_reason(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        read_table(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_table_says_what_writes_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"labels\.csv is missing; 'python -m pipeline.fetch' writes it\."):
        read_table(tmp_path / "labels.csv", "'python -m pipeline.fetch' writes it")


def test_values_are_converted_but_for_columns_of_text(tmp_path: Path) -> None:
    written = pd.DataFrame(
        {
            "group": ["1", "2"],
            "epoch": [1, 2],
            "auroc": [0.1 + 0.2, None],
            "reason": [None, "few"],
            "best": [True, False],
        }
    )
    write_csv(tmp_path / "results.csv", written)
    read = parse_values(read_table(tmp_path / "results.csv"), text=("group",))
    pd.testing.assert_frame_equal(read, written)
