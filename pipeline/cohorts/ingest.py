"""Ingest: from a label table and a folder of scans to one verified row per scan, with all problems at once."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from pipeline.cohorts.bids import scan_rows
from pipeline.cohorts.label_table import (
    check_columns,
    check_rows,
    format_list,
    format_rows,
    path_columns,
    required_columns,
    select_columns,
)
from pipeline.cohorts.scan_index import CheckedRows, check_row_scans, list_scans, relative_to_raw
from pipeline.cohorts.sources.kinds import FolderSource
from pipeline.cohorts.values import check_classes, map_classes, order_classes, plain_numbers, telling_problems
from pipeline.cohorts.write import Entry, write_cohort, write_summary
from pipeline.config import Cohort
from pipeline.core.columns import CROP_MASK, LABEL, PATH, SCAN_ID
from pipeline.core.paths import CohortPaths
from pipeline.core.tables import read_table
from pipeline.imaging.io.discover import pair_files, split_paths
from pipeline.imaging.problems import Problem, on_one_line
from pipeline.imaging.reference_range import ScanMeasures, find_unusual, measure, reference_ranges
from pipeline.imaging.validation import ScanCheck, Tolerance
from pipeline.imaging.value_range import scales_apart

log = logging.getLogger(__name__)
MAX_REJECTIONS = 1_000
"""Longer lists help nobody, and a table of a million rows may lack every scan."""


@dataclass(frozen=True)
class LocatedProblem:
    """A problem and where it is: the table, or the scan of a row."""

    where: str
    problem: Problem
    scan_id: str | None = None

    def __str__(self) -> str:
        return f"{on_one_line(self.where)}: {self.problem.message} [{self.problem.code}]"

    def entry(self) -> Entry:
        """Its form in ingest.json."""
        problem = self.problem
        return {"scan_id": self.scan_id, "code": problem.code, "verdict": problem.verdict, "message": str(self)}


def ingest_cohort(cohort: Cohort, paths: CohortPaths, workers: int = 1) -> None:
    """Write `cohort.csv` and `ingest.json`, or raise one `ValueError` that lists every problem and write neither.

    Rejected scans are among those problems, unless `ingest.on_bad_scan` is `exclude`.
    """
    known = list_scans(paths.raw)
    labels, in_doubt = load_labels(cohort, paths, known)
    table = select_columns(labels, cohort.columns)
    tolerance = Tolerance(**cohort.ingest.model_dump(exclude={"on_bad_scan"}), modality=cohort.modality)
    num_files = len(path_columns(cohort.columns))
    rows = compare_scans(check_row_scans(table, paths.raw, known, num_files, tolerance, workers))
    excludes = cohort.ingest.on_bad_scan == "exclude"
    kept = rows.usable if excludes else table
    without_row = scans_without_row(labels, table, known, paths)
    in_table = [*in_doubt, *check_columns(labels, cohort.columns), *check_rows(table, cohort.classes or ())]
    in_table += [*check_classes(kept, cohort), *telling_problems(labels, cohort.columns)]
    in_table += [*row_missing_problems(without_row), *duplicate_voxel_problems(rows), *value_problems(rows)]
    in_table += label_source_problems(labels, table, cohort.columns.label_source, paths.raw)
    of_table = [LocatedProblem(str(paths.labels), problem) for problem in in_table]
    of_scans = scan_problems(rows)
    raise_rejections(of_table if excludes else of_table + of_scans, paths)
    for problem in of_table + of_scans:
        log.warning("%s", problem)
    write_cohort(paths, rows)
    classes, entries = order_classes(kept[LABEL], cohort), [problem.entry() for problem in of_table + of_scans]
    write_summary(paths, rows, cohort.task, classes, entries, without_row)


def load_labels(cohort: Cohort, paths: CohortPaths, known: list[str]) -> tuple[pd.DataFrame, list[Problem]]:
    """The label table with all its columns, one row per scan, and what is in doubt about its numbers.

    Spellings of a class are replaced by its name. Raises if a column that every cohort needs is missing.
    """
    labels = read_table(paths.labels, "'python -m pipeline.fetch' writes it")
    if isinstance(cohort.source, FolderSource) and cohort.source.bids_suffix:
        labels = scan_rows(labels, known, cohort.source.bids_suffix, cohort.columns)
    if not set(required_columns(cohort.columns)) <= set(labels.columns):
        problems = check_columns(labels, cohort.columns)
        raise_rejections([LocatedProblem(str(paths.labels), problem) for problem in problems], paths)
    label = cohort.columns.label
    named = {label: map_classes(labels[label], cohort.spellings)} if cohort.spellings else {}
    return plain_numbers(labels.assign(**named), cohort.columns)


def raise_rejections(problems: list[LocatedProblem], paths: CohortPaths) -> None:
    """Raise one error for all problems whose verdict is `reject`."""
    rejected = [problem for problem in problems if problem.problem.verdict == "reject"]
    lines = [str(problem) for problem in rejected[:MAX_REJECTIONS]]
    if len(rejected) > MAX_REJECTIONS:
        lines.append(f"and {len(rejected) - MAX_REJECTIONS:,} more")
    if len(lines) == 1:
        raise ValueError(lines[0])
    if lines:
        raise ValueError("\n  ".join([f"{paths.folder}: {len(rejected):,} problems, nothing was written:", *lines]))


def scans_without_row(labels: pd.DataFrame, table: pd.DataFrame, known: list[str], paths: CohortPaths) -> list[str]:
    """Scans that no row names, neither as its scan nor in another column, such as that of the mask."""
    files, raw = {path for cell in table[PATH] for path in split_paths(cell)}, paths.raw
    named = {relative_to_raw(path, raw) for path in files} | set(labels.to_numpy().ravel())
    # `known` lists one file of a pair, and a row may name the other.
    return [scan for scan in known if named.isdisjoint(map(str, pair_files(Path(scan)) or [scan]))]


def label_source_problems(
    labels: pd.DataFrame, table: pd.DataFrame, sources: Sequence[str], raw: Path
) -> list[Problem]:
    """Rows whose scan or crop mask is a file that a label was made from, under whatever column, name or link."""
    made_from = {file for name in sources if name in labels for cell in labels[name] for file in real_files(cell, raw)}
    if not made_from:
        return []
    bad = pd.Series(False, table.index)
    for name in {PATH, CROP_MASK} & set(table.columns):
        bad |= table[name].map(lambda cell: any(real_files(path, raw) & made_from for path in split_paths(cell)))
    return [Problem("TAB-LABEL-SOURCE", format_rows(table[bad]))] if bad.any() else []


def real_files(cell: str, raw: Path) -> set[str]:
    """The files that a cell of the table names, both of a pair, with links followed; none for an empty cell."""
    return {os.path.realpath(file) for file in (pair_files(raw / cell) or [raw / cell])} if cell else set()


def row_missing_problems(without_row: list[str]) -> list[Problem]:
    """One problem that names the first few scans without a row; ingest.json lists them all."""
    return [Problem("TAB-NO-ROW", f"{len(without_row)}: {format_list(without_row)}")] if without_row else []


def duplicate_voxel_problems(rows: CheckedRows) -> list[Problem]:
    """The same voxels under several ids: only a warning, because the split stage stops if they cross a split."""
    hashes = pd.Series([check.facts.voxel_sha256 if check.facts else None for check in rows.checks], rows.table.index)
    groups = rows.table[SCAN_ID].groupby(hashes).agg(list)
    return [Problem("TAB-SAME-VOXELS", ", ".join(scan_ids)) for scan_ids in groups if len(scan_ids) > 1]


def value_problems(rows: CheckedRows) -> list[Problem]:
    """Two groups of scans on different scales: a plan measures a few scans, and one window fits only one group."""
    scans = zip(rows.table[SCAN_ID], rows.checks, strict=True)
    found = scales_apart({scan_id: check.facts.values for scan_id, check in scans if check.facts})
    return [Problem("TAB-SCALES", found)] if found else []


def compare_scans(rows: CheckedRows) -> CheckedRows:
    """The rows, with a warning for each scan that is far from what is usual in the cohort."""
    measured = [
        check.facts and measure(check.facts.shape, check.facts.spacing_mm, check.facts.orientation, check.facts.values)
        for check in rows.checks
    ]
    reference = reference_ranges(scan for scan in measured if scan)
    if reference is None:
        return rows

    def compared(check: ScanCheck, scan: ScanMeasures | None) -> ScanCheck:
        reason = scan and find_unusual(scan, reference)
        return replace(check, problems=(*check.problems, Problem("NII-UNUSUAL", reason))) if reason else check

    return replace(rows, checks=[compared(*pair) for pair in zip(rows.checks, measured, strict=True)])


def scan_problems(rows: CheckedRows) -> list[LocatedProblem]:
    return [
        LocatedProblem(f"{scan_id}: {check.path}", problem, scan_id)
        for scan_id, check in zip(rows.table[SCAN_ID], rows.checks, strict=True)
        for problem in check.problems
    ]
