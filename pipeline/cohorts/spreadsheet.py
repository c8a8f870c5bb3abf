"""Tables as people keep them: Excel, any separator, byte-order marks, decimal commas."""

import re
from pathlib import Path

import pandas as pd

from pipeline.cohorts.table import MISSING, read_table

EXCEL = (".xlsx", ".xlsm")
DECIMAL_COMMA = re.compile(r"[+-]?\d+(,\d+)?")


def read_spreadsheet(path: Path) -> pd.DataFrame:
    """A table with every cell as text, empty where missing, and decimal points for decimal commas.

    Raises `FileNotFoundError`, or `ValueError` for a file that is no table.
    """
    table = _read_excel(path) if _is_excel(path) else read_table(path)
    return table.apply(_point_for_comma)


def is_plain(path: Path) -> bool:
    """Can later stages read this table as it is?"""
    return not _is_excel(path) and read_table(path).equals(read_spreadsheet(path))


def _is_excel(path: Path) -> bool:
    return path.suffix.lower() in EXCEL


def _read_excel(path: Path) -> pd.DataFrame:
    """The first sheet; ids kept as text in Excel keep their leading zeros."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such table.")
    try:
        table = pd.read_excel(path, dtype=str, engine="openpyxl")
    except (ValueError, KeyError, OSError) as error:
        raise ValueError(f"{path}: not an Excel table, {error}; save it as .xlsx or CSV.") from None
    return table.fillna("").rename(columns=str)


def _point_for_comma(column: pd.Series) -> pd.Series:
    """Numbers such as 61,5 as 61.5, if all of the column are such numbers."""
    values = column[~column.str.strip().str.lower().isin(MISSING)].str.strip()
    if not values.str.contains(",").any() or not values.map(lambda text: bool(DECIMAL_COMMA.fullmatch(text))).all():
        return column
    return column.str.replace(",", ".")
