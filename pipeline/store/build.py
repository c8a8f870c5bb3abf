"""Preprocess a whole cohort: only the scans that changed, in any number of processes, to the same bits."""

import functools
import hashlib
import logging
import platform
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.config import Plan
from pipeline.core.columns import SCAN_ID
from pipeline.core.parallel import run_jobs
from pipeline.core.progress import watched
from pipeline.core.provenance import hash_of_modules
from pipeline.imaging.intensity import require_n4
from pipeline.imaging.io.discover import ScanFiles, files_of
from pipeline.imaging.preprocessing import preprocess_scan
from pipeline.store.nifti_entry import Record
from pipeline.store.store import Store


@dataclass(frozen=True)
class Versions:
    """SHA-256 of what makes every voxel of a store: change one, and all is prepared again."""

    plan_sha256: str
    code_sha256: str


@dataclass(frozen=True)
class Job:
    """One scan to prepare, and the hash its files had when they were checked, if they were."""

    scan_id: str
    files: ScanFiles
    sha256: str | None


@dataclass(frozen=True)
class Outcome:
    """What became of a job: the record of the stored scan, or what is wrong with it."""

    scan_id: str
    record: Record | None = None
    error: str = ""


@functools.cache
def code_hash() -> str:
    """SHA-256 of the modules that shape voxels: after an edit, preparing again is cheaper than being wrong."""
    return hash_of_modules(SHAPES_SCANS)


def attempt(job: Job, *, plan: Plan, folder: Path, versions: Versions) -> Outcome:
    """Prepare and store one scan; what is wrong with the scan is the outcome's error.

    Raises `OSError` where the store cannot be written and `ValueError` where this machine has other code, since no
    other scan would fare better.
    """
    refuse_other_code(versions)
    try:
        prepared = preprocess_scan(job.files, plan)
        source_sha256 = source_hash(job)
    except (ValueError, OSError) as error:
        return Outcome(job.scan_id, error=str(error))
    except MemoryError as error:
        return Outcome(job.scan_id, error=f"{job.files.first}: {error}; use fewer --workers, or more memory.")
    hashes = {"source_sha256": source_sha256, "plan_sha256": versions.plan_sha256, "code_sha256": versions.code_sha256}
    try:
        stored = Store(folder).write(job.scan_id, prepared.array, prepared.affine, **hashes, warnings=prepared.warnings)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; what is stored already is kept", str(folder)) from error
    return Outcome(job.scan_id, stored)


def source_hash(job: Job) -> str:
    """SHA-256 of the scan's files, which must be those that were checked."""
    found = job.files.sha256()
    if job.sha256 not in (None, found):
        raise ValueError(f"{job.files.first}: not the file that was checked, its hash differs; run 'dvc repro ingest'.")
    return found


def refuse_other_code(versions: Versions) -> None:
    """A worker on another machine may run another version, whose voxels would bear this one's name."""
    if code_hash() != versions.code_sha256:
        raise ValueError(
            f"{platform.node()}: the worker's pipeline.scans is not that of the run, got hash {code_hash()[:12]}, "
            f"expected {versions.code_sha256[:12]}; bring both to one version and restart the worker."
        )


log = logging.getLogger(__name__)
SHAPES_SCANS = ("imaging", "store")
"""The code of this package that stored voxels depend on."""
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
