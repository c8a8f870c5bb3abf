"""The label table: read it, check it, and select the columns of a cohort."""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

import pandas as pd

from pipeline.config import Columns
from pipeline.core.columns import CROP_CENTER_MM, CROP_MASK, LABEL, PATH, PATIENT_ID, SCAN_ID
from pipeline.core.errors import did_you_mean
from pipeline.core.ids import check_as_ingested, check_filled
from pipeline.core.tables import read_table
from pipeline.imaging.io.discover import join_paths
from pipeline.imaging.problems import Problem
from pipeline.imaging.value_range import VALUE_COLUMNS

INVISIBLE_ENDS = re.compile(r"^[\s\u00ad\u200b-\u200f\u2060\ufeff]+|[\s\u00ad\u200b-\u200f\u2060\ufeff]+$")
MISSING = {"", "na", "n/a", "#n/a", "nan", "null"}
"""Spellings of a missing value, in any case; 'none' is not among them, because it may be a class."""
MAX_LISTED, MAX_DIGITS = 5, 15
RESERVED = (
    *(SCAN_ID, PATIENT_ID, PATH, LABEL, CROP_MASK, CROP_CENTER_MM),
    *("shape", "spacing_mm", "orientation", "dtype", "file_sha256", "voxel_sha256", "warnings"),
    *VALUE_COLUMNS,
)
"""Columns of cohort.csv that a covariate must not replace."""


def read_cohort(path: Path) -> pd.DataFrame:
    """One row per scan, all text: a label 'NA' or an id '007' is read as it was written.

    Raises `ValueError` for a table without rows, or with another number than ingest counted in the file beside it.
    """
    table = read_table(path, "'dvc repro ingest' writes it")
    check_filled(table, [SCAN_ID], str(path))
    check_as_ingested(table, path, "ingest")
    return table


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
    lost = {name: lost_zeros(table, name) for name in sorted(numbers)}
    return problems + [Problem("TAB-ID-NUMBER", f"column '{name}' {found}") for name, found in lost.items() if found]


def lost_zeros(table: pd.DataFrame, name: str) -> str:
    """Where the table shows that a column of numbers was one of ids with zeros or with more digits; empty if nowhere.

    An id is written with its zeros in another column of its row, such as the path.
    """
    others = [other for other in table.columns if other not in table.attrs["numbers"]]
    for row in table[[name, *others]].to_dict("records"):
        number = row.pop(name)
        if len(number.strip("-")) > MAX_DIGITS:
            return f"has {number}, of which a number keeps {MAX_DIGITS} digits"
        padded = re.compile(rf"(?<!\d)0+{re.escape(number)}(?!\d)")
        for other, cell in row.items() if number.isdigit() else ():
            if found := padded.search(cell):
                return f"has {number} where column '{other}' has {found[0]}"
    return ""


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


def check_rows(table: pd.DataFrame, classes: Collection[str] = ()) -> list[Problem]:
    """Problems of ids and missing labels, one per kind, with the rows that have it; a declared class is not missing."""
    ids = table[[SCAN_ID, PATIENT_ID]]
    padded = table[[SCAN_ID, PATIENT_ID, LABEL]].apply(lambda column: column != column.map(trim)).any(axis=1)
    rows = {
        "TAB-ID-EMPTY": ids.apply(is_missing).any(axis=1),
        "TAB-ID-TWICE": table[SCAN_ID].duplicated(keep=False) & ~is_missing(table[SCAN_ID]),
        "TAB-PADDED": padded,
        "TAB-LABEL-MISSING": is_missing(table[LABEL]) & ~table[LABEL].isin(classes),
    }
    return [Problem(code, format_rows(table[bad])) for code, bad in rows.items() if bad.any()]


def trim(text: str) -> str:
    """Without white space, and characters that no one sees, at either end."""
    return INVISIBLE_ENDS.sub("", text)


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
