"""Read tables: CSV, TSV, Parquet and Excel, with every cell as the text that was written.

An id '007' keeps its zeros, and labels 'NA', 'None', '1e5' and 'True' are labels, whatever the format. Callers convert
columns explicitly, see `parse_values`.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

from pipeline.core.columns import CONFUSION, TEXT
from pipeline.core.io import decode, one_line, shorten

if TYPE_CHECKING:
    from pandas import DataFrame, Series

SEPARATORS = "\t,;"
PARQUET_MAGIC, ZIP_MAGIC = b"PAR1", b"PK\x03\x04"
"""First bytes of Parquet and of Excel files."""
FOREIGN = {
    b"\xd0\xcf\x11\xe0": "an old or encrypted Excel file; save it as .xlsx without a password, or as CSV",
    b"\x1f\x8b": "a compressed file; unpack it",
    b"%PDF": "a PDF file; export the table as CSV",
}
"""First bytes of files that people take for tables, and what to do with each."""
SEPARATOR_LINE = re.compile(r"sep=(.)\s*?(?:\r\n|\r|\n)", re.IGNORECASE)
"""A first line that only Excel understands."""
QUOTED = re.compile(r'"[^"]*"')
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Characters that no web page or log can show."""
EXCEL_ERRORS = ("#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NULL!", "#NUM!")
MAX_ROWS, MAX_UNPACKED = 1_048_576, 2 << 30
"""Of an Excel sheet, by its format; bytes of all parts of a workbook."""
WRITTEN_BY_STAGE = "if an earlier stage writes it, 'dvc repro' does that first"


def read_table(path: Path, remedy: str = WRITTEN_BY_STAGE) -> "DataFrame":
    """A CSV, TSV, Parquet or Excel table with every cell as text, empty if missing; the content tells the format.

    The index counts rows as a spreadsheet does, from 0 for row 2; rows and nameless columns without content are left
    out. Columns that a format stores as numbers are named in `attrs['numbers']`, because an id may have lost its zeros.
    Raises `FileNotFoundError`, with what to do next, or `ValueError` for a file that is not a table.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; {remedy}.")
    return parse_table(path.read_bytes(), str(path))


def parse_table(content: bytes, where: str) -> "DataFrame":
    """`read_table` of a file's bytes; `where` names the file in errors."""
    for magic, kind in FOREIGN.items():
        if content.startswith(magic):
            raise ValueError(f"{where}: not a table, got {kind}.")
    if content.startswith(PARQUET_MAGIC):
        return _parse_parquet(content, where)
    if content.startswith(ZIP_MAGIC):
        return _parse_excel(content, where)
    try:
        return _make_table(_text_rows(decode(content, where)), where)
    except csv.Error as error:
        raise ValueError(f"{where}: not a table, {error}; save it as CSV with UTF-8.") from None


def _text_rows(text: str) -> Iterator[list[str]]:
    """The rows of a text, separated as its header is, or as a line `sep=;` says."""
    if given := SEPARATOR_LINE.match(text):
        text, separator = text[given.end() :], given[1]
    else:
        header = QUOTED.sub("", text).lstrip().splitlines()[:1] or [""]
        separator = max(SEPARATORS, key=header[0].count)
    # Without newline="" a carriage return, alone or inside a cell, would not be kept as it is.
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)


def _make_table(rows: Iterator[list[str]], where: str) -> "DataFrame":
    """The table of rows of which the first that is not blank is the header."""
    import pandas as pd

    filled = ((number, row) for number, row in enumerate(rows, start=1) if any(row))
    _, header = next(filled, (0, []))
    if not header:
        raise ValueError(f"{where}: not a table, it is empty; save it again with a header and a row per scan.")
    names, numbers, cells = _name_columns(header), [], []
    for number, row in filled:
        numbers.append(number)
        cells.append(_fit_row(row, len(names), f"{where}: row {number}"))
    # Row 2 of a spreadsheet is index 0; without rows left out that is what pandas counts too.
    index = [number - 2 for number in numbers]
    table = pd.DataFrame(cells, None if index == list(range(len(cells))) else index, names, dtype=str)
    nameless = [name for name, given in zip(names, header, strict=True) if not given and not table[name].any()]
    return _check_table(table.drop(columns=nameless), where)


def _name_columns(header: list[str]) -> list[str]:
    """A column without a name is called by its place."""
    return [name or f"column {place}" for place, name in enumerate(header, start=1)]


def _fit_row(row: list[str], num_columns: int, where: str) -> list[str]:
    """The row without surplus separators; a row that lacks cells may have been cut off."""
    if len(row) < num_columns or any(row[num_columns:]):
        raise ValueError(f"{where} has {len(row)} cells, its header {num_columns}; correct the row.")
    return row[:num_columns]


def _check_table(table: "DataFrame", where: str) -> "DataFrame":
    """Raise ValueError for a column that occurs twice, or a control character."""
    repeated = [name for name, count in Counter(table.columns).items() if count > 1]
    if repeated:
        raise ValueError(f"{where}: column '{repeated[0]}' occurs twice; rename one of them.")
    for name in table.columns:
        if CONTROL.search(name):
            raise ValueError(f"{where}: column {shorten(name)} has a control character in its name; remove it.")
        # One search of all cells: a table may have millions of them.
        if CONTROL.search("\n".join(table[name])):
            row = next(row for row, cell in table[name].items() if CONTROL.search(cell))
            found = shorten(table[name][row])
            raise ValueError(
                f"{where}: row {row + 2}, column '{name}': got {found} with a control character; remove it."
            )
    return table


def _parse_parquet(content: bytes, where: str) -> "DataFrame":
    """Cells as text; whole numbers have no point although other cells of their column are empty."""
    import pandas as pd

    try:
        table = pd.read_parquet(io.BytesIO(content))
    except Exception as error:
        # The library raises what its own code happens to raise on a damaged file.
        raise ValueError(f"{where}: not a Parquet table, {one_line(error)}; save it again.") from None
    kept = [name for name in table.index.names if name is not None]
    table = table.reset_index(kept) if kept else table
    text = pd.DataFrame(
        {str(name): [_cell_text(value) for value in table[name].tolist()] for name in table.columns},
        range(len(table)),
        dtype=str,
    )
    if len(text.columns) != len(table.columns):
        raise ValueError(f"{where}: a column occurs twice; rename one of them.")
    text.attrs["numbers"] = [str(name) for name in table.columns if pd.api.types.is_numeric_dtype(table[name])]
    return _check_table(text, where)


def _parse_excel(content: bytes, where: str) -> "DataFrame":
    """The first sheet; ids that Excel stores as text keep their leading zeros."""
    values: list[list[Any]] = []
    try:
        values.extend(_excel_rows(content, where))
    except MemoryError:
        raise
    except Exception as error:
        # The library raises what its own code happens to raise on a damaged file.
        reason = "it is damaged or no workbook" if isinstance(error, BadZipFile | KeyError) else one_line(error)
        raise ValueError(f"{where}: not an Excel table, {reason}; save it as .xlsx or CSV.") from None
    width = max((place for row in values for place, value in enumerate(row, start=1) if value is not None), default=0)
    rows = [[_cell_text(value) for value in row[:width]] + [""] * (width - len(row)) for row in values]
    table = _make_table(iter(rows), where)
    header = next((row for row in rows if any(row)), [])
    stored = {name: [] for name in table.columns}
    for place, name in enumerate(_name_columns(header)):
        if name in stored:
            stored[name] = [row[place] for row in values if len(row) > place]
    table.attrs["numbers"] = [name for name, cells in stored.items() if any(map(_is_number, cells))]
    errors = [(name, cell) for name in table.columns for cell in table[name] if cell in EXCEL_ERRORS]
    if errors:
        raise ValueError(f"{where}: column '{errors[0][0]}' has the error {errors[0][1]}; correct its formula.")
    return table


def _excel_rows(content: bytes, where: str) -> Iterator[list[Any]]:
    """The values of the first sheet, row by row."""
    from openpyxl import load_workbook

    with ZipFile(io.BytesIO(content)) as parts:
        if sum(part.file_size for part in parts.infolist()) > MAX_UNPACKED:
            raise ValueError(f"it unpacks to more than {MAX_UNPACKED:,} bytes")
    book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    if not book.worksheets:
        raise ValueError("it has no sheet")
    sheet = book.worksheets[0]
    # The sheet's own record of its size may be wrong.
    sheet.reset_dimensions()
    for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
        if number > MAX_ROWS:
            raise ValueError(f"it has more than {MAX_ROWS:,} rows")
        yield list(row)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell_text(value: Any) -> str:
    """What a stored value would be in a CSV file; empty for a missing one."""
    if isinstance(value, str):
        return value
    if value is None or value != value or type(value).__name__ == "NAType":
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, datetime):
        return str(value.date()) if value.time() == time() and value.tzinfo is None else str(value)
    return value.isoformat() if isinstance(value, date) else str(value)


def parse_values(table: "DataFrame") -> "DataFrame":
    """The table of a stage with its numbers and booleans, and NaN for empty cells.

    Columns of ids, classes and groups stay as they are, because each may be called '1'.
    """
    kept = {*TEXT, *(CONFUSION if set(CONFUSION) <= set(table.columns) else ())}
    return table.assign(**{name: _parse_column(table[name]) for name in table.columns if name not in kept})


def _parse_column(column: "Series") -> "Series":
    """Integers, floats or booleans if all cells are, else the text."""
    filled = column.where(column != "", "nan")
    for cells, kind in ((column, "int64"), (filled, "float64")):
        try:
            return cells.astype(kind)
        except (ValueError, OverflowError):
            continue
    is_boolean = column.isin(("True", "False")).all()
    return column == "True" if is_boolean else column.where(column != "", float("nan"))
