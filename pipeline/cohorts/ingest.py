"""From a label table and a folder of scans to one verified row a scan, with every problem reported at once."""

import logging
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.cohorts.bids import scan_rows
from pipeline.cohorts.classes import check_classes, order_classes
from pipeline.cohorts.label_table import (
    check_columns,
    check_rows,
    listing,
    own_columns,
    path_columns,
    read_table,
    select_columns,
)
from pipeline.cohorts.scan_index import CheckedRows, check_row_scans, inside, list_scans
from pipeline.cohorts.sources.kinds import FolderSource
from pipeline.cohorts.write import Entry, write_cohort, write_summary
from pipeline.config import Cohort
from pipeline.core.columns import LABEL, PATH, SCAN_ID
from pipeline.core.paths import CohortPaths
from pipeline.imaging.io.discover import halves_of, split_paths
from pipeline.imaging.problems import Problem
from pipeline.imaging.validation import Tolerance

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finding:
    """A problem and where it is: the table, or the scan of a row."""

    where: str
    problem: Problem
    scan_id: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.problem.message} [{self.problem.code}]"

    def entry(self) -> Entry:
        """Its form in ingest.json."""
        problem = self.problem
        return {"scan_id": self.scan_id, "code": problem.code, "verdict": problem.verdict, "message": str(self)}


def ingest_cohort(cohort: Cohort, paths: CohortPaths, workers: int = 1) -> None:
    """Write `cohort.csv` and `ingest.json`, or raise one `ValueError` that lists every problem and write neither.

    Scans that cannot be used are among those problems, unless `ingest.on_bad_scan` says to go on without them.
    """
    known = list_scans(paths.raw)
    labels = load_labels(cohort, paths, known)
    table = select_columns(labels, cohort.columns)
    tolerance = Tolerance(cohort.ingest.fill_nonfinite, cohort.ingest.missing_channel)
    rows = check_row_scans(table, paths.raw, known, len(path_columns(cohort.columns)), tolerance, workers)
    excluding = cohort.ingest.on_bad_scan == "exclude"
    kept = rows.usable if excluding else table
    without_row = orphans(labels, table, known, paths)
    in_table = [*check_columns(labels, cohort.columns), *check_rows(table), *check_classes(kept, cohort)]
    in_table += [*orphan_problems(without_row), *twins(rows)]
    of_table = [Finding(str(paths.labels), problem) for problem in in_table]
    of_scans = scan_findings(rows)
    refuse(of_table if excluding else of_table + of_scans, paths)
    for finding in of_table + of_scans:
        log.warning("%s", finding)
    write_cohort(paths, rows)
    classes, entries = order_classes(kept[LABEL], cohort), [finding.entry() for finding in of_table + of_scans]
    write_summary(paths, rows, cohort.task, classes, entries, without_row)


def load_labels(cohort: Cohort, paths: CohortPaths, known: list[str]) -> pd.DataFrame:
    """The label table, a row a scan, with all its columns; without those of every cohort nothing can be checked."""
    labels = read_table(paths.labels)
    if isinstance(cohort.source, FolderSource) and cohort.source.bids_suffix:
        labels = scan_rows(labels, known, cohort.source.bids_suffix, cohort.columns)
    if not set(own_columns(cohort.columns)) <= set(labels.columns):
        refuse([Finding(str(paths.labels), problem) for problem in check_columns(labels, cohort.columns)], paths)
    return labels


def refuse(findings: list[Finding], paths: CohortPaths) -> None:
    """Raise if there is anything that cannot be gone on with."""
    blocking = [str(finding) for finding in findings if finding.problem.verdict == "reject"]
    if len(blocking) == 1:
        raise ValueError(blocking[0])
    if blocking:
        raise ValueError("\n  ".join([f"{paths.folder}: {len(blocking)} problems, nothing was written:", *blocking]))


def orphans(labels: pd.DataFrame, table: pd.DataFrame, known: list[str], paths: CohortPaths) -> list[str]:
    """Scans that no row names, as its scan or in another column, such as the scan's mask."""
    files = {path for cell in table[PATH] for path in split_paths(cell)}
    named = {inside(path, paths.raw) for path in files} | set(labels.to_numpy().ravel())
    # A pair is known by one half, and a row may name the other.
    return [scan for scan in known if named.isdisjoint(map(str, halves_of(Path(scan)) or [scan]))]


def orphan_problems(without_row: list[str]) -> list[Problem]:
    """The first few; ingest.json lists them all."""
    return [Problem("TAB-NO-ROW", f"{len(without_row)}: {listing(without_row)}")] if without_row else []


def twins(rows: CheckedRows) -> list[Problem]:
    """The same voxels under several ids: a warning here, for the leak gate stops those that cross a split."""
    hashes = pd.Series([check.facts.voxel_sha256 if check.facts else None for check in rows.checks], rows.table.index)
    groups = rows.table[SCAN_ID].groupby(hashes).agg(list)
    return [Problem("TAB-SAME-VOXELS", ", ".join(scan_ids)) for scan_ids in groups if len(scan_ids) > 1]


def scan_findings(rows: CheckedRows) -> list[Finding]:
    return [
        Finding(f"{row[SCAN_ID]}: {check.path}", problem, row[SCAN_ID])
        for row, check in rows.items()
        for problem in check.problems
    ]
