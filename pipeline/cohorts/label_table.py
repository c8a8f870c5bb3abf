"""The label table: read CSV, TSV, Excel or Parquet as text, check and select columns."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from pipeline.config import Columns
from pipeline.core.columns import CROP_CENTER_MM, CROP_MASK, LABEL, PATH, PATIENT_ID, SCAN_ID
from pipeline.core.errors import did_you_mean
from pipeline.imaging.io.discover import join_paths
from pipeline.imaging.problems import Problem

PARQUET_MAGIC = b"PAR1"
SEPARATORS = "\t,;"
MISSING = {"", "na", "n/a", "nan", "null"}
"""Words for a missing value, in any case; 'none' may be a class."""
SHOWN = 5
RESERVED = (
    *(SCAN_ID, PATIENT_ID, PATH, LABEL, CROP_MASK, CROP_CENTER_MM),
    *("shape", "spacing_mm", "orientation", "dtype", "file_sha256", "voxel_sha256", "warnings"),
)
"""Columns that cohort.csv has of its own."""


def read_table(path: Path) -> pd.DataFrame:
    """A CSV, TSV or Parquet table with every cell as text, empty where missing; the format is told by content.

    Raises `FileNotFoundError`, or `ValueError` for a file that is no table.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no label table here; 'python -m pipeline.fetch' puts it there.")
    content = path.read_bytes()
    if content.startswith(PARQUET_MAGIC):
        return parquet_as_text(path)
    try:
        return parse_text(content.decode("utf-8-sig"))
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{path}: not a table in UTF-8 text, {error}; save it as CSV with UTF-8.") from None


def parse_text(text: str) -> pd.DataFrame:
    """Rows of one length, separated as the header is."""
    header = text.partition("\n")[0]
    separator = max(SEPARATORS, key=header.count)
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=separator, strict=True) if row]
    if not rows:
        raise ValueError("it is empty")
    columns = rows[0]
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise ValueError(f"column '{twice[0]}' stands twice")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(columns):
            raise ValueError(f"row {number} has {len(row)} cells, its header {len(columns)}")
    return pd.DataFrame(rows[1:], columns=columns, dtype=str)


def parquet_as_text(path: Path) -> pd.DataFrame:
    """Cells as text; columns of numbers keep their type in `attrs['numbers']`, for ids must not be numbers."""
    table = pd.read_parquet(path)
    text = table.astype(object).where(table.notna(), "").astype(str)
    text.attrs["numbers"] = [name for name in table.columns if pd.api.types.is_numeric_dtype(table[name])]
    return text


def check_columns(table: pd.DataFrame, columns: Columns) -> list[Problem]:
    """Columns that the config names and the table lacks, names that clash, and ids that are numbers."""
    own = own_columns(columns)
    wanted = [*own, *covariates(columns)]
    problems = [
        Problem("TAB-COLUMN", f"no {with_hint(name, table.columns)} among {', '.join(table.columns)}")
        for name in wanted
        if name not in table.columns
    ]
    taken = [name for name in covariates(columns) if name in RESERVED and name not in own]
    problems += [Problem("TAB-NAME", f"'{name}'") for name in taken]
    numbers = set(table.attrs.get("numbers", ())) & {columns.scan_id, columns.patient_id}
    return problems + [Problem("TAB-ID-NUMBER", f"column '{name}'") for name in sorted(numbers)]


def own_columns(columns: Columns) -> list[str]:
    """Columns without which there is no cohort, in the table's words."""
    return [columns.scan_id, columns.patient_id, columns.label, *file_columns(columns)]


def covariates(columns: Columns) -> list[str]:
    """Every further column that goes into the cohort, in the table's words; what the label was made from does not."""
    single = [name for name in (columns.split, columns.site, columns.date) if name]
    return list(dict.fromkeys([*single, *columns.group, *columns.clinical, *columns.acquisition]))


def path_columns(columns: Columns) -> tuple[str, ...]:
    """Columns that name a file of the scan each, one a channel."""
    return columns.channels or (columns.path,)


def file_columns(columns: Columns) -> tuple[str, ...]:
    """All columns that say what a scan is made from: its files and what to crop them to."""
    return (
        *path_columns(columns),
        *([columns.crop_mask] if columns.crop_mask else []),
        *(columns.crop_center_mm or ()),
    )


def select_columns(table: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """The cohort's columns under their standard names; a covariate that `check_columns` complains of is left out."""
    return pd.DataFrame(
        {
            SCAN_ID: table[columns.scan_id],
            PATIENT_ID: table[columns.patient_id],
            **select_files(table, columns),
            LABEL: table[columns.label],
            **{name: table[name] for name in covariates(columns) if name in table and name not in RESERVED},
        }
    )


def select_files(table: pd.DataFrame, columns: Columns) -> dict[str, pd.Series]:
    """The files of each scan and what to crop them to, as cohort.csv holds them."""
    channels = [present(table[name]) for name in columns.channels] or [table[columns.path]]
    files = {PATH: pd.Series(map(join_paths, zip(*channels, strict=True)), table.index)}
    if columns.crop_mask:
        files[CROP_MASK] = present(table[columns.crop_mask])
    if columns.crop_center_mm:
        points = zip(*(table[name] for name in columns.crop_center_mm), strict=True)
        files[CROP_CENTER_MM] = pd.Series(map(" ".join, points), table.index)
    return files


def present(column: pd.Series) -> pd.Series:
    """The column with nothing where a word stands for it."""
    return column.mask(is_missing(column), "")


def check_rows(table: pd.DataFrame) -> list[Problem]:
    """Everything wrong with ids and with missing labels, one problem a kind with the rows it is in."""
    ids = table[[SCAN_ID, PATIENT_ID]]
    padded = table[[SCAN_ID, PATIENT_ID, LABEL]].apply(lambda column: column != column.str.strip()).any(axis=1)
    rows = {
        "TAB-ID-EMPTY": ids.apply(is_missing).any(axis=1),
        "TAB-ID-TWICE": table[SCAN_ID].duplicated(keep=False) & ~is_missing(table[SCAN_ID]),
        "TAB-PADDED": padded,
        "TAB-LABEL-MISSING": is_missing(table[LABEL]),
    }
    return [Problem(code, name_rows(table[bad])) for code, bad in rows.items() if bad.any()]


def is_missing(column: pd.Series) -> pd.Series:
    return column.str.strip().str.lower().isin(MISSING)


def name_rows(table: pd.DataFrame) -> str:
    """Rows as a spreadsheet counts them, its header being row 1, each with its scan_id."""
    return listing(f"row {index + 2} ({scan_id!r})" for index, scan_id in table[SCAN_ID].items())


def with_hint(word: str, known: Iterable[str]) -> str:
    """The word in quotes, with the nearest known one."""
    hint = did_you_mean(word, known).strip()
    return f"'{word}' ({hint})" if hint else f"'{word}'"


def listing(names: Iterable[str]) -> str:
    """The first few, and how many more."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


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


def read_cohort(path: Path) -> pd.DataFrame:
    """One row a scan, all text: a label 'NA' or an id '007' is read as it was written."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; 'dvc repro ingest' writes it.")
    return pd.read_csv(path, dtype=str, keep_default_na=False)
