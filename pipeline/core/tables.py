"""Read tables: CSV, TSV, Parquet and Excel, with every cell as the text that was written.

An id '007' keeps its zeros and a label 'NA' is a label. Callers convert columns explicitly, see `parse_values`.
"""

import csv
import io
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

if TYPE_CHECKING:
    from pandas import DataFrame, Series

SEPARATORS = "\t,;"
PARQUET_MAGIC, ZIP_MAGIC = b"PAR1", b"PK\x03\x04"
"""First bytes of Parquet and of Excel files."""
WRITTEN_BY_STAGE = "if an earlier stage writes it, 'dvc repro' does that first"


def read_table(path: Path, remedy: str = WRITTEN_BY_STAGE) -> "DataFrame":
    """A CSV, TSV, Parquet or Excel table with every cell as text, empty if missing; the content tells the format.

    Raises `FileNotFoundError`, with what to do next, or `ValueError` for a file that is not a table.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; {remedy}.")
    return parse_table(path.read_bytes(), str(path))


def parse_table(content: bytes, where: str) -> "DataFrame":
    """`read_table` of a file's bytes; `where` names the file in errors."""
    if content.startswith(PARQUET_MAGIC):
        return _parse_parquet(content)
    if content.startswith(ZIP_MAGIC):
        return _parse_excel(content, where)
    try:
        return _parse_text(content.decode("utf-8-sig"))
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{where}: not a table in UTF-8 text, {error}; save it as CSV with UTF-8.") from None


def _parse_text(text: str) -> "DataFrame":
    """Rows of one length, separated as the header is."""
    import pandas as pd

    header = text.partition("\n")[0]
    separator = max(SEPARATORS, key=header.count)
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=separator, strict=True) if row]
    if not rows:
        raise ValueError("it is empty")
    columns = rows[0]
    repeated = [name for name, count in Counter(columns).items() if count > 1]
    if repeated:
        raise ValueError(f"column '{repeated[0]}' occurs twice")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(columns):
            raise ValueError(f"row {number} has {len(row)} cells, its header {len(columns)}")
    return pd.DataFrame(rows[1:], columns=columns, dtype=str)


def _parse_parquet(content: bytes) -> "DataFrame":
    """Cells as text; the names of numeric columns are in `attrs['numbers']`, because an id must not be a number."""
    import pandas as pd

    table = pd.read_parquet(io.BytesIO(content))
    text = table.astype(object).where(table.notna(), "").astype(str)
    text.attrs["numbers"] = [name for name in table.columns if pd.api.types.is_numeric_dtype(table[name])]
    return text


def _parse_excel(content: bytes, where: str) -> "DataFrame":
    """The first sheet; ids that Excel stores as text keep their leading zeros."""
    import pandas as pd

    try:
        table = pd.read_excel(io.BytesIO(content), dtype=str, engine="openpyxl")
    except (ValueError, KeyError, OSError, BadZipFile) as error:
        raise ValueError(f"{where}: not an Excel table, {error}; save it as .xlsx or CSV.") from None
    return table.fillna("").rename(columns=str)


def parse_values(table: "DataFrame", text: Collection[str] = ()) -> "DataFrame":
    """The table of a stage with its numbers and booleans, and NaN for empty cells.

    Columns in `text` stay as they are: an id, a class or a group may be called '1'.
    """
    return table.assign(**{name: _parse_column(table[name]) for name in table.columns if name not in text})


def _parse_column(column: "Series") -> "Series":
    """Integers, floats or booleans if all cells are, else the text."""
    filled = column.where(column != "", "nan")
    for cells, kind in ((column, "int64"), (filled, "float64")):
        try:
            return cells.astype(kind)
        except ValueError:
            continue
    is_boolean = column.isin(("True", "False")).all()
    return column == "True" if is_boolean else column.where(column != "", float("nan"))
