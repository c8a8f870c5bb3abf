"""Preprocess a cohort into the store: only scans that changed, in any number of processes, to the same bits."""

import functools
import hashlib
import importlib
import logging
import platform
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from pipeline.config import Plan
from pipeline.core.columns import SCAN_ID
from pipeline.core.parallel import run_jobs
from pipeline.core.progress import show_progress
from pipeline.core.provenance import hash_of_modules
from pipeline.imaging.intensity import require_n4
from pipeline.imaging.io.discover import ScanFiles, scan_files
from pipeline.store.nifti_entry import ScanRecord
from pipeline.store.store import Store

if TYPE_CHECKING:
    from monai.transforms import Compose

log = logging.getLogger(__name__)
PREPROCESSING = "pipeline.imaging.preprocessing"
SHAPES_SCANS = ("imaging", "store")
"""The code of this package that stored voxels depend on."""
SHAPES_VOXELS = {
    *("orientation", "spacing_mm", "size_voxels", "crop", "tilt", "bias_correction"),
    *("intensity", "fill_nonfinite", "channels", "missing_channel", "extra"),
}
"""Fields of the plan that the store depends on; another batch size preprocesses nothing again."""
FILE_SHA256 = "file_sha256"
"""Column of cohort.csv; without it each raw file is hashed where it is preprocessed."""
MAX_SHOWN = 3


@dataclass(frozen=True)
class Versions:
    """SHA-256 of what decides every voxel of a store: if one changes, all scans are preprocessed again."""

    plan_sha256: str
    code_sha256: str


@dataclass(frozen=True)
class Job:
    """One scan to preprocess, and the hash its files had when they were validated, if they were."""

    scan_id: str
    files: ScanFiles
    sha256: str | None


@dataclass(frozen=True)
class Result:
    """What became of a job: the record of the stored scan, or what is wrong with it."""

    scan_id: str
    record: ScanRecord | None = None
    error: str = ""


def preprocess_cohort(
    cohort: pd.DataFrame, raw: Path, plan: Plan, store: Store, *, workers: int = 1, scheduler: str | None = None
) -> None:
    """Bring the store to exactly the scans of `cohort` (columns scan_id, path), preprocessed by `plan`.

    Stored scans are verified by their checksums; damaged ones are preprocessed again. A scan that fails stops none of
    the others; all failures are listed in the `ValueError` at the end.
    """
    if cohort.empty:
        raise ValueError(f"{store.folder}: the cohort has no scans, expected one row per scan; nothing was removed.")
    if plan.bias_correction == "n4":
        require_n4()
    jobs = [make_job(row, raw) for row in cohort.to_dict("records")]
    versions = Versions(plan_hash(plan), code_hash())
    stored = {job.scan_id: store.record(job.scan_id) for job in jobs}
    current = {job.scan_id for job in jobs if is_current(stored[job.scan_id], job, versions)}
    current -= damaged(store, current, workers)
    todo = [job for job in jobs if job.scan_id not in current]
    log.info("preprocess: %d of %d scans are up to date, %d to do", len(jobs) - len(todo), len(jobs), len(todo))
    if todo:
        # A run that finds all scans up to date does not wait for MONAI; one that does not, waits once.
        importlib.import_module(PREPROCESSING)
        check_extra(plan)
    work = functools.partial(prepare_one, plan=plan, folder=store.folder.resolve(), versions=versions)
    running = run_jobs(work, todo, workers=workers, scheduler=scheduler, preload=(PREPROCESSING,))
    results = list(show_progress(running, len(todo), "preprocess"))
    written = {result.scan_id: result.record for result in results if result.record}
    store.sync(written)
    records = [record for record in (stored | written).values() if record]
    store.write_manifest(records)
    log_warnings(records)
    raise_failures(results)
    # Only now: until all scans are stored, what the store had before may be needed.
    store.prune(job.scan_id for job in jobs)


def make_job(row: Mapping[str, str], raw: Path) -> Job:
    files = scan_files(row, raw.absolute())
    return Job(row[SCAN_ID], files, row.get(FILE_SHA256))


def prepare_one(job: Job, *, plan: Plan, folder: Path, versions: Versions) -> Result:
    """Preprocess and store one scan; what is wrong with the scan is the result's error.

    Raises `OSError` if the store cannot be written and `ValueError` if this machine has other code, because every
    other scan would fail in the same way.
    """
    from pipeline.imaging.preprocessing import preprocess_scan

    check_same_code(versions)
    try:
        prepared = preprocess_scan(job.files, plan, transforms_of(plan.model_dump_json()))
        source_sha256 = source_hash(job)
    except (ValueError, OSError) as error:
        return Result(job.scan_id, error=str(error))
    except MemoryError as error:
        return Result(job.scan_id, error=f"{job.files.first}: {error}; use fewer --workers, or more memory.")
    hashes = {"source_sha256": source_sha256, "plan_sha256": versions.plan_sha256, "code_sha256": versions.code_sha256}
    try:
        stored = Store(folder).write(job.scan_id, prepared.array, prepared.affine, **hashes, warnings=prepared.warnings)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; what is stored already is kept", str(folder)) from error
    return Result(job.scan_id, stored)


def check_extra(plan: Plan) -> None:
    """Raise `ValueError` once, before any scan, if an extra transform cannot be built; log those without an inverse."""
    from pipeline.imaging.extra_transforms import not_invertible, own_names

    for name in not_invertible(plan.extra, own_names(plan.extra)):
        log.warning("preprocess.extra: %s has no inverse; explanation maps are put back without undoing it", name)


@functools.lru_cache(maxsize=1)
def transforms_of(plan: str) -> "Compose":
    """The transforms of a plan given as JSON, built once per process."""
    from pipeline.imaging.extra_transforms import own_names
    from pipeline.imaging.transforms import scan_transforms

    parsed = Plan.model_validate_json(plan)
    # plan.yaml is a local file: what it names may be imported.
    return scan_transforms(parsed, own_modules=own_names(parsed.extra))


def source_hash(job: Job) -> str:
    """SHA-256 of the scan's files, which must be those that were validated."""
    found = job.files.sha256()
    if job.sha256 not in (None, found):
        raise ValueError(f"{job.files.first}: its hash changed since it was validated; run 'dvc repro ingest'.")
    return found


@functools.cache
def code_hash() -> str:
    """SHA-256 of the modules that shape voxels: after an edit, preprocessing again is cheaper than being wrong."""
    return hash_of_modules(SHAPES_SCANS)


def check_same_code(versions: Versions) -> None:
    """A worker on another machine may run another version, whose voxels would carry this version's name."""
    if code_hash() != versions.code_sha256:
        raise ValueError(
            f"{platform.node()}: the worker runs another version of this pipeline, got hash {code_hash()[:12]}, "
            f"expected {versions.code_sha256[:12]}; install the same version there and restart the worker."
        )


def is_current(record: ScanRecord | None, job: Job, versions: Versions) -> bool:
    """Is the scan in the store, from these files, by this plan and this code?"""
    if record is None or Versions(record.plan_sha256, record.code_sha256) != versions:
        return False
    return record.source_sha256 == (job.sha256 or hash_if_readable(job.files))


def hash_if_readable(files: ScanFiles) -> str | None:
    """None if a file cannot be read, which preprocessing reports with its reason."""
    try:
        return files.sha256()
    except OSError:
        return None


def damaged(store: Store, scan_ids: set[str], threads: int) -> set[str]:
    """Those of the scans whose bytes changed since they were written, as a failing disk changes them.

    The size and time of a file would not show it: both stay when a disk loses a bit.
    """
    found = store.verify(sorted(scan_ids), threads=threads)
    if found:
        log.warning("preprocess: %d stored scans are damaged and are done again: %s", len(found), ", ".join(found))
    return set(found)


def plan_hash(plan: Plan) -> str:
    """SHA-256 of the fields that shape voxels."""
    return hashlib.sha256(plan.model_dump_json(include=SHAPES_VOXELS).encode()).hexdigest()


def log_warnings(records: list[ScanRecord]) -> None:
    """Each kind of warning once, with how many scans have it and the first of them."""
    scans = defaultdict(list)
    for record in records:
        for warning in record.warnings:
            scans[warning].append(record.scan_id)
    for warning, named in sorted(scans.items(), key=lambda item: -len(item[1])):
        more = ", …" if len(named) > MAX_SHOWN else ""
        log.warning("warning: %d scans (%s%s): %s", len(named), ", ".join(named[:MAX_SHOWN]), more, warning)


def raise_failures(results: list[Result]) -> None:
    errors = sorted(result.error for result in results if result.error)
    if errors:
        raise ValueError(
            f"preprocess: {len(errors)} of {len(results)} scans failed, the others are stored:\n" + "\n".join(errors)
        )
