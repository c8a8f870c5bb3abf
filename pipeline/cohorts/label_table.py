"""The label table: read it, check it, and select the columns of a cohort."""

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from pipeline.config import Columns
from pipeline.core.columns import CROP_CENTER_MM, CROP_MASK, LABEL, PATH, PATIENT_ID, SCAN_ID
from pipeline.core.errors import did_you_mean
from pipeline.core.tables import read_table
from pipeline.imaging.io.discover import join_paths
from pipeline.imaging.problems import Problem

EXCEL = (".xlsx", ".xlsm")
DECIMAL_COMMA = re.compile(r"[+-]?\d+(,\d+)?")
MISSING = {"", "na", "n/a", "nan", "null"}
"""Spellings of a missing value, in any case; 'none' is not among them, because it may be a class."""
MAX_LISTED = 5
RESERVED = (
    *(SCAN_ID, PATIENT_ID, PATH, LABEL, CROP_MASK, CROP_CENTER_MM),
    *("shape", "spacing_mm", "orientation", "dtype", "file_sha256", "voxel_sha256", "warnings"),
)
"""Columns of cohort.csv that a covariate must not replace."""


def read_spreadsheet(path: Path) -> pd.DataFrame:
    """A table with every cell as text, empty if missing, and decimal points for decimal commas.

    Raises `FileNotFoundError`, or `ValueError` for a file that is not a table.
    """
    return read_table(path, "give the table of labels").apply(replace_decimal_commas)


def is_plain(path: Path) -> bool:
    """Whether later stages can read this table without conversion."""
    return path.suffix.lower() not in EXCEL and read_table(path).equals(read_spreadsheet(path))


def replace_decimal_commas(column: pd.Series) -> pd.Series:
    """Numbers such as 61,5 as 61.5, if all values of the column are such numbers."""
    values = column[~column.str.strip().str.lower().isin(MISSING)].str.strip()
    if not values.str.contains(",").any() or not values.map(lambda text: bool(DECIMAL_COMMA.fullmatch(text))).all():
        return column
    return column.str.replace(",", ".")


def read_cohort(path: Path) -> pd.DataFrame:
    """One row per scan, all text: a label 'NA' or an id '007' is read as it was written."""
    return read_table(path, "'dvc repro ingest' writes it")


def check_columns(table: pd.DataFrame, columns: Columns) -> list[Problem]:
    """Problems of columns: missing in the table, names that clash with cohort.csv, ids that are numbers."""
    own = required_columns(columns)
    wanted = [*own, *covariates(columns)]
    problems = [
        Problem("TAB-COLUMN", f"no {quote_with_hint(name, table.columns)} among {', '.join(table.columns)}")
        for name in wanted
        if name not in table.columns
    ]
    taken = [name for name in covariates(columns) if name in RESERVED and name not in own]
    problems += [Problem("TAB-NAME", f"'{name}'") for name in taken]
    numbers = set(table.attrs.get("numbers", ())) & {columns.scan_id, columns.patient_id}
    return problems + [Problem("TAB-ID-NUMBER", f"column '{name}'") for name in sorted(numbers)]


def required_columns(columns: Columns) -> list[str]:
    """Columns that every cohort needs, by their names in the table."""
    return [columns.scan_id, columns.patient_id, columns.label, *file_columns(columns)]


def covariates(columns: Columns) -> list[str]:
    """Further columns of the cohort, by their names in the table; without those that the label was made from."""
    single = [name for name in (columns.split, columns.site, columns.date) if name]
    return list(dict.fromkeys([*single, *columns.group, *columns.clinical, *columns.acquisition]))


def path_columns(columns: Columns) -> tuple[str, ...]:
    """Columns with the files of the scan, one per channel."""
    return columns.channels or (columns.path,)


def file_columns(columns: Columns) -> tuple[str, ...]:
    """All columns with the files of a scan and what to crop them to."""
    return (
        *path_columns(columns),
        *([columns.crop_mask] if columns.crop_mask else []),
        *(columns.crop_center_mm or ()),
    )


def select_columns(table: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """The cohort's columns under their standard names; covariates that `check_columns` rejects are left out."""
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
    """The files of each scan and what to crop them to, as columns of cohort.csv."""
    channels = [blank_missing(table[name]) for name in columns.channels] or [table[columns.path]]
    files = {PATH: pd.Series(map(join_paths, zip(*channels, strict=True)), table.index)}
    if columns.crop_mask:
        files[CROP_MASK] = blank_missing(table[columns.crop_mask])
    if columns.crop_center_mm:
        points = zip(*(table[name] for name in columns.crop_center_mm), strict=True)
        files[CROP_CENTER_MM] = pd.Series(map(" ".join, points), table.index)
    return files


def blank_missing(column: pd.Series) -> pd.Series:
    """The column with spellings of a missing value replaced by an empty cell."""
    return column.mask(is_missing(column), "")


def check_rows(table: pd.DataFrame) -> list[Problem]:
    """Problems of ids and missing labels, one per kind, with the rows that have it."""
    ids = table[[SCAN_ID, PATIENT_ID]]
    padded = table[[SCAN_ID, PATIENT_ID, LABEL]].apply(lambda column: column != column.str.strip()).any(axis=1)
    rows = {
        "TAB-ID-EMPTY": ids.apply(is_missing).any(axis=1),
        "TAB-ID-TWICE": table[SCAN_ID].duplicated(keep=False) & ~is_missing(table[SCAN_ID]),
        "TAB-PADDED": padded,
        "TAB-LABEL-MISSING": is_missing(table[LABEL]),
    }
    return [Problem(code, format_rows(table[bad])) for code, bad in rows.items() if bad.any()]


def is_missing(column: pd.Series) -> pd.Series:
    return column.str.strip().str.lower().isin(MISSING)


def format_rows(table: pd.DataFrame) -> str:
    """Row numbers as in a spreadsheet, where the header is row 1, each with its scan_id."""
    return format_list(f"row {index + 2} ({scan_id!r})" for index, scan_id in table[SCAN_ID].items())


def quote_with_hint(word: str, known: Iterable[str]) -> str:
    """The word in quotes, with the nearest known word."""
    hint = did_you_mean(word, known).strip()
    return f"'{word}' ({hint})" if hint else f"'{word}'"


def format_list(names: Iterable[str]) -> str:
    """The first few names, and the number of the others."""
    names = list(names)
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more
