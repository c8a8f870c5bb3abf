"""The scan of each row: where it lies, whether it can be used, and which scans have no row."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.cohorts.label_table import with_hint
from pipeline.core.columns import CROP_CENTER_MM, CROP_MASK, PATH
from pipeline.core.parallel import run_jobs
from pipeline.core.progress import show_progress
from pipeline.imaging.io.discover import ScanFiles, files_of, find_scans, join_paths, split_paths
from pipeline.imaging.problems import Problem
from pipeline.imaging.validation import ScanCheck, Tolerance, check_files

Job = tuple[int, ScanFiles, Tolerance]
"""Row, its files, and what they may lack."""
Outcome = tuple[int, ScanCheck]

MOST_HINTS = 500
"""Scans beyond which looking for the nearest name would take longer than reading them."""


@dataclass(frozen=True)
class CheckedRows:
    """The label table, and the outcome for the scan of each row."""

    table: pd.DataFrame
    checks: list[ScanCheck]

    @property
    def usable(self) -> pd.DataFrame:
        """The rows whose scan can be used."""
        return self.table[[check.facts is not None for check in self.checks]]

    def items(self) -> Iterator[tuple[dict[str, str], ScanCheck]]:
        """Each row by column, with its check."""
        yield from zip(self.table.to_dict("records"), self.checks, strict=True)


def list_scans(raw: Path) -> list[str]:
    """Every scan below the raw folder, relative to it.

    Raises `FileNotFoundError` where there is no folder, `ValueError` where it holds no scan.
    """
    if not raw.is_dir():
        raise FileNotFoundError(f"{raw}: no folder of scans here; 'python -m pipeline.fetch' puts it there.")
    scans = [path.relative_to(raw).as_posix() for path in find_scans(raw)]
    if not scans:
        raise ValueError(f"{raw}: no scans in this folder, expected .nii, .nii.gz, .hdr/.img or DICOM files.")
    return scans


def inside(path: str, raw: Path) -> str | None:
    """A table's path as one relative to the raw folder; None if it is empty or leaves the folder."""
    # By name only: a link below the folder may lead anywhere, as data managers make them.
    for folder in (raw.absolute(), raw.resolve()):
        relative = os.path.relpath(folder / path, folder)
        if relative.split(os.sep)[0] not in (".", ".."):
            return Path(relative).as_posix()
    return None


def all_inside(row: dict[str, str], raw: Path) -> dict[str, str]:
    """The row with every path of its files relative to the raw folder, whichever way it was written."""
    paths = {PATH: join_paths([path and inside(path, raw) for path in split_paths(row[PATH])])}
    if row.get(CROP_MASK):
        paths[CROP_MASK] = inside(row[CROP_MASK], raw)
    return row | paths


def check_row_scans(
    table: pd.DataFrame, raw: Path, known: list[str], num_files: int, tolerance: Tolerance, workers: int
) -> CheckedRows:
    """Check the `num_files` files of every row's scan; a row without usable paths is a rejected scan.

    `known` are the scans there are.
    """
    checks: dict[int, ScanCheck] = {}
    jobs: list[Job] = []
    for number, row in enumerate(table.to_dict("records")):
        if problem := row_problem(row, raw, known, num_files):
            checks[number] = ScanCheck(Path(row[PATH]), (problem,), None)
        else:
            jobs.append((number, files_of(all_inside(row, raw), raw), tolerance))
    checks |= show_progress(run_jobs(check_job, jobs, workers=workers), len(jobs), "ingest")
    return CheckedRows(table, [checks[row] for row in range(len(table))])


def check_job(job: Job) -> Outcome:
    """One row's check, with the row, for outcomes come in any order."""
    row, files, tolerance = job
    return row, check_files(files, tolerance)


def row_problem(row: dict[str, str], raw: Path, known: list[str], num_files: int) -> Problem | None:
    """Why a row's paths and its point lead to no scan, if they do not."""
    paths = split_paths(row[PATH])
    if len(paths) != num_files or not any(paths):
        return Problem("TAB-PATH", repr(row[PATH]))
    if CROP_MASK in row:
        paths.append(row[CROP_MASK] or ".")
    problems = (path_problem(path, raw, known) for path in paths if path)
    return next((problem for problem in problems if problem), None) or point_problem(row.get(CROP_CENTER_MM))


def point_problem(cell: str | None) -> Problem | None:
    """Why a point is none, if one is asked for."""
    if cell is None:
        return None
    try:
        numbers = [float(number) for number in cell.split()]
    except ValueError:
        numbers = []
    is_point = len(numbers) == 3 and all(map(math.isfinite, numbers))
    return None if is_point else Problem("NII-CROP-CENTER", repr(cell))


def path_problem(path: str, raw: Path, known: list[str]) -> Problem | None:
    """Why a row's path leads to no scan, if it does not."""
    relative = inside(path, raw)
    if relative is None:
        return Problem("TAB-PATH", repr(path))
    if not os.path.lexists(raw / relative):
        return Problem("TAB-NO-SCAN", with_hint(path, known if len(known) <= MOST_HINTS else ()))
    return None
