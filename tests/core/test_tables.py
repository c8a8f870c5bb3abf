"""Tables from files of several formats, as text, and their explicit conversion."""

from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pandas as pd
import pytest
from openpyxl import Workbook

from pipeline.core.io import write_csv
from pipeline.core.tables import parse_values, read_table
from tests.core.table_mutants import mutant_outcomes

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
        (b"scan_id,label\nM\xfcller,b\n", "line 2: not text in UTF-8, got byte fc"),
        (b"scan_id,label\na,\x07\n", "row 2, column 'label': got '.x07' with a control character"),
        (b"scan_id,label\n\na,b,c\n", "row 3 has 3 cells"),
        (b"\xd0\xcf\x11\xe0 old", "an old or encrypted Excel file; save it as .xlsx"),
        (b"\x1f\x8b packed", "a compressed file; unpack it"),
        (b"PAR1 not a table", "not a Parquet table"),
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


NAMES = [
    "0",
    "1",
    "True",
    "None",
    "nan",
    "NA",
    "1e5",
    "007",
    "1.0",
    "$x$",
    "~x",
    "/x",
    "a;b",
    "e, f",
    'q"',
    "two\nlines",
]


@pytest.mark.parametrize("kind", ["csv", "xlsx", "parquet"])
def test_names_that_look_like_other_types_are_the_same_text_in_every_format(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"labels.{kind}"
    written = pd.DataFrame({"scan_id": NAMES, "label": NAMES})
    {"csv": written.to_csv, "xlsx": written.to_excel, "parquet": written.to_parquet}[kind](path, index=False)
    read = read_table(path)
    assert read["scan_id"].tolist() == NAMES == parse_values(read)["label"].tolist()


def test_a_carriage_return_in_a_cell_is_no_end_of_a_row(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", pd.DataFrame({"label": ["a\rb", "c"], "prob_a\rb": [0.25, 0.75]}))
    read = parse_values(read_table(tmp_path / "a.csv"))
    assert read.to_dict("list") == {"label": ["a\rb", "c"], "prob_a\rb": [0.25, 0.75]}


@pytest.mark.parametrize(
    ("content", "index"),
    [
        (b"a;b\r1;2\r3;4\r", [0, 1]),
        (b"sep=;\r\na;b\r\n1;2\r\n3;4\r\n", [0, 1]),
        ("a\tb\n1\t2\n3\t4\n".encode("utf-16"), [0, 1]),
        (b"a,b,,\n1,2,,\n,,,\n3,4,,\n", [0, 2]),
        (b"a,b\n1,2,\n3,4\n", [0, 1]),
        (b"\na,b\n1,2\n3,4", [1, 2]),
        (b'"a","b"\n"1","2"\n"3","4"\n', [0, 1]),
    ],
)
def test_the_habits_of_spreadsheets_are_read_and_rows_counted_as_they_do(
    tmp_path: Path, content: bytes, index: list[int]
) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    read = read_table(tmp_path / "a.csv")
    assert (list(read.columns), read.values.tolist(), list(read.index)) == (["a", "b"], [["1", "2"], ["3", "4"]], index)


def test_a_column_without_a_name_is_called_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",a\n0,x\n")
    assert read_table(tmp_path / "a.csv").to_dict("list") == {"column 1": ["0"], "a": ["x"]}


def test_empty_rows_and_columns_of_a_sheet_are_left_out_and_numbers_known(tmp_path: Path) -> None:
    book = Workbook()
    for cells in ((), ("id", None, "label"), (7, None, "a"), (), (8.0, None, True)):
        book.active.append(cells)
    book.save(tmp_path / "a.xlsx")
    read = read_table(tmp_path / "a.xlsx")
    assert read.to_dict("list") == {"id": ["7", "8"], "label": ["a", "True"]}
    assert read.attrs["numbers"] == ["id"] and list(read.index) == [1, 3]


def test_an_error_of_a_formula_and_a_bomb_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = Workbook()
    for cells in (("id", "label"), ("a", "#REF!")):
        book.active.append(cells)
    book.save(tmp_path / "a.xlsx")
    with pytest.raises(ValueError, match="column 'label' has the error #REF!"):
        read_table(tmp_path / "a.xlsx")
    monkeypatch.setattr("pipeline.core.tables.MAX_UNPACKED", 1 << 20)
    with ZipFile(tmp_path / "a.xlsx", "a", ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet2.xml", bytes(2 << 20))
    with pytest.raises(ValueError, match="unpacks to more than"):
        read_table(tmp_path / "a.xlsx")


def test_the_index_of_a_parquet_file_is_a_column_if_it_has_a_name(tmp_path: Path) -> None:
    table = pd.DataFrame({"scan_id": ["007", "008", "009"], "age": [61.0, None, 59.0], "site": [1, 2, 3]})
    table.set_index("scan_id").to_parquet(tmp_path / "a.parquet")
    read = read_table(tmp_path / "a.parquet")
    assert read.to_dict("list") == {"scan_id": ["007", "008", "009"], "age": ["61", "", "59"], "site": ["1", "2", "3"]}
    table[1:].to_parquet(tmp_path / "b.parquet")
    assert read_table(tmp_path / "b.parquet").columns.tolist() == ["scan_id", "age", "site"]


MUTANTS = 60
"""Of each format; `python -m tests.core.table_mutants 5000` tries more."""


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_mutants_of_a_table_are_read_or_refused_in_one_line(kind: str) -> None:
    assert sum(mutant_outcomes(kind, MUTANTS, seed=0).values()) == MUTANTS


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
    read = parse_values(read_table(tmp_path / "results.csv"))
    pd.testing.assert_frame_equal(read, written)
