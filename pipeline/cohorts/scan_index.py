"""The scan of each row: its files, and whether they are usable."""

import functools
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.cohorts.label_table import quote_with_hint
from pipeline.core.columns import CROP_CENTER_MM, CROP_MASK, PATH
from pipeline.core.parallel import run_jobs
from pipeline.core.progress import show_progress
from pipeline.imaging.io.discover import (
    ScanFiles,
    as_on_disk,
    find_scans,
    join_paths,
    readable_name,
    scan_files,
    split_paths,
)
from pipeline.imaging.problems import Problem
from pipeline.imaging.validation import ScanCheck, Tolerance, check_files

Job = tuple[int, ScanFiles, Tolerance]
"""Row number, its files, and what the cohort accepts."""
Result = tuple[int, ScanCheck]

MAX_HINTED, MAX_HINTS = 500, 20
"""Most scans among which the nearest name is looked for, and most rows for which it is: it takes long."""


@dataclass(frozen=True)
class CheckedRows:
    """The label table, and the check of each row's scan."""

    table: pd.DataFrame
    checks: list[ScanCheck]

    @property
    def usable(self) -> pd.DataFrame:
        """The rows whose scan was not rejected."""
        return self.table[[check.facts is not None for check in self.checks]]

    def items(self) -> Iterator[tuple[dict[str, str], ScanCheck]]:
        """Each row by column, with its check."""
        yield from zip(self.table.to_dict("records"), self.checks, strict=True)


def list_scans(raw: Path) -> list[str]:
    """Every scan below the raw folder, relative to it.

    Raises `FileNotFoundError` for a missing folder, `ValueError` for one without scans.
    """
    if not raw.is_dir():
        raise FileNotFoundError(f"{raw}: this folder of scans is missing; 'python -m pipeline.fetch' writes it.")
    scans = [readable_name(path.relative_to(raw)) for path in find_scans(raw)]
    if not scans:
        raise ValueError(f"{raw}: no scans in this folder, expected .nii, .nii.gz, .hdr/.img or DICOM files.")
    return scans


def relative_to_raw(path: str, raw: Path) -> str | None:
    """A path of the table, relative to the raw folder; None if it is empty or outside the folder."""
    # Links are not followed: a link in the folder may point anywhere, as data managers create them.
    for folder in spellings(raw, os.getcwd()):
        whole = os.path.normpath(os.path.join(folder, path))
        if whole.startswith(folder + os.sep):
            # Plain letters have one spelling.
            on_disk = whole if whole.isascii() else str(as_on_disk(Path(whole)))
            return on_disk[len(folder) + 1 :].replace(os.sep, "/")
    return None


@functools.lru_cache(maxsize=8)
def spellings(raw: Path, here: str) -> tuple[str, str]:
    """The folder as it is named from `here`, and with links followed; looked up once, not for a million rows."""
    return os.path.join(here, raw), str(raw.resolve())


def with_relative_paths(row: dict[str, str], raw: Path) -> dict[str, str]:
    """The row with every path of its files relative to the raw folder."""
    paths = {PATH: join_paths([path and relative_to_raw(path, raw) for path in split_paths(row[PATH])])}
    if row.get(CROP_MASK):
        paths[CROP_MASK] = relative_to_raw(row[CROP_MASK], raw)
    return row | paths


def check_row_scans(
    table: pd.DataFrame, raw: Path, known: list[str], num_files: int, tolerance: Tolerance, workers: int
) -> CheckedRows:
    """Check the `num_files` files of each row's scan; a row without valid paths is a rejected scan.

    `known` are the scans in the raw folder.
    """
    checks: dict[int, ScanCheck] = {}
    jobs: list[Job] = []
    for number, row in enumerate(show_progress(table.to_dict("records"), len(table), "ingest: rows")):
        # The nearest names are looked for in a few rows: if all files are missing, one hint says why.
        hinted = known if len(checks) < MAX_HINTS and len(known) <= MAX_HINTED else []
        if problem := row_problem(row, raw, hinted, num_files):
            checks[number] = ScanCheck(Path(row[PATH]), (problem,), None)
        else:
            jobs.append((number, scan_files(with_relative_paths(row, raw), raw), tolerance))
    checks |= show_progress(run_jobs(check_job, jobs, workers=workers), len(jobs), "ingest")
    return CheckedRows(table, [checks[row] for row in range(len(table))])


def check_job(job: Job) -> Result:
    """The check of one row, with its number, because results arrive in any order."""
    row, files, tolerance = job
    return row, check_files(files, tolerance)


def row_problem(row: dict[str, str], raw: Path, known: list[str], num_files: int) -> Problem | None:
    """The problem of a row's paths or point; None if there is none."""
    paths = split_paths(row[PATH])
    if len(paths) != num_files or not any(paths):
        return Problem("TAB-PATH", repr(row[PATH]))
    if CROP_MASK in row:
        paths.append(row[CROP_MASK] or ".")
    problems = (path_problem(path, raw, known) for path in paths if path)
    return next((problem for problem in problems if problem), None) or point_problem(row.get(CROP_CENTER_MM))


def point_problem(cell: str | None) -> Problem | None:
    """The problem of a point that the plan may crop to; None if it is valid or not given."""
    if cell is None:
        return None
    try:
        numbers = [float(number) for number in cell.split()]
    except ValueError:
        numbers = []
    is_point = len(numbers) == 3 and all(map(math.isfinite, numbers))
    return None if is_point else Problem("NII-CROP-CENTER", repr(cell))


def path_problem(path: str, raw: Path, known: list[str]) -> Problem | None:
    """The problem of one path; None if it exists in the raw folder."""
    relative = relative_to_raw(path, raw)
    if relative is None:
        return Problem("TAB-PATH", repr(path))
    if not os.path.lexists(os.path.join(raw, relative)):
        return Problem("TAB-NO-SCAN", quote_with_hint(path, known) if known else f"'{path}'")
    return None
