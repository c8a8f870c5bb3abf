"""Preparing a whole cohort: only what changed, in any number of processes, to the same bits."""

import functools
import hashlib
import logging
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipeline.config import Plan
from pipeline.core.columns import SCAN_ID
from pipeline.core.parallel import run_jobs
from pipeline.core.progress import watched
from pipeline.imaging.intensity import require_n4
from pipeline.imaging.io.discover import ScanFiles, files_of
from pipeline.scans.entry import Record
from pipeline.scans.job import Job, Outcome, Versions, attempt, code_hash
from pipeline.scans.store import Store

log = logging.getLogger(__name__)
SHAPES_VOXELS = {
    *("orientation", "spacing_mm", "size_voxels", "crop", "tilt", "bias_correction"),
    *("intensity", "fill_nonfinite", "channels", "missing_channel"),
}
"""Fields of the plan that the store depends on; another batch size prepares nothing again."""
FILE_SHA256 = "file_sha256"
"""Column of cohort.csv; without it each raw file is hashed where it is prepared."""
SHOWN_SCANS = 3


def preprocess_cohort(
    cohort: pd.DataFrame, raw: Path, plan: Plan, store: Store, *, workers: int = 1, scheduler: str | None = None
) -> None:
    """Bring the store to exactly the scans of `cohort` (columns scan_id, path), prepared by `plan`.

    Stored scans are read and held against their checksums; what is damaged is prepared again. A scan that cannot be
    prepared stops none of the others; all of them are named in the `ValueError` at the end.
    """
    if plan.bias_correction == "n4":
        require_n4()
    jobs = [make_job(row, raw) for row in cohort.to_dict("records")]
    versions = Versions(plan_hash(plan), code_hash())
    store.prune(job.scan_id for job in jobs)
    stored = {job.scan_id: store.record(job.scan_id) for job in jobs}
    current = {job.scan_id for job in jobs if is_current(stored[job.scan_id], job, versions)}
    current -= damaged(store, current, workers)
    todo = [job for job in jobs if job.scan_id not in current]
    log.info("preprocess: %d of %d scans are up to date, %d to do", len(jobs) - len(todo), len(jobs), len(todo))
    work = functools.partial(attempt, plan=plan, folder=store.folder.resolve(), versions=versions)
    outcomes = list(watched(run_jobs(work, todo, workers=workers, scheduler=scheduler), len(todo), "preprocess"))
    written = {outcome.scan_id: outcome.record for outcome in outcomes if outcome.record}
    store.sync(written)
    records = [record for record in (stored | written).values() if record]
    store.write_manifest(records)
    log_warnings(records)
    raise_failures(outcomes)


def make_job(row: Mapping[str, str], raw: Path) -> Job:
    files = files_of(row, raw.absolute())
    return Job(row[SCAN_ID], files, row.get(FILE_SHA256))


def is_current(record: Record | None, job: Job, versions: Versions) -> bool:
    """Is the scan in the store, from these files, by this plan and this code?"""
    if record is None or Versions(record.plan_sha256, record.code_sha256) != versions:
        return False
    return record.source_sha256 == (job.sha256 or hash_if_there(job.files))


def hash_if_there(files: ScanFiles) -> str | None:
    """None where a file cannot be read, which preparing says in its own words."""
    try:
        return files.sha256()
    except OSError:
        return None


def damaged(store: Store, scan_ids: set[str], threads: int) -> set[str]:
    """Those of the scans whose bytes changed since they were written, as a failing disk makes them.

    A file's size and time would not tell: both stay when a disk loses a bit.
    """
    found = store.verify(sorted(scan_ids), threads=threads)
    if found:
        log.warning("preprocess: %d stored scans are damaged and are redone: %s", len(found), ", ".join(found))
    return set(found)


def plan_hash(plan: Plan) -> str:
    """SHA-256 of the fields that shape voxels."""
    return hashlib.sha256(plan.model_dump_json(include=SHAPES_VOXELS).encode()).hexdigest()


def log_warnings(records: list[Record]) -> None:
    """Each kind of warning once, with how many scans have it and the first of them."""
    scans = defaultdict(list)
    for record in records:
        for warning in record.warnings:
            scans[warning].append(record.scan_id)
    for warning, named in sorted(scans.items(), key=lambda item: -len(item[1])):
        more = ", …" if len(named) > SHOWN_SCANS else ""
        log.warning("warning: %d scans (%s%s): %s", len(named), ", ".join(named[:SHOWN_SCANS]), more, warning)


def raise_failures(outcomes: list[Outcome]) -> None:
    errors = sorted(outcome.error for outcome in outcomes if outcome.error)
    if errors:
        raise ValueError(
            f"preprocess: {len(errors)} of {len(outcomes)} scans failed, the others are stored:\n" + "\n".join(errors)
        )
