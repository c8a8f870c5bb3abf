"""One scan's work, as a worker process does it; it imports little, because every worker waits for its imports."""

import functools
import hashlib
import platform
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Plan
from pipeline.imaging.io.discover import ScanFiles
from pipeline.imaging.preprocessing import preprocess_scan
from pipeline.scans.entry import Record
from pipeline.scans.store import Store


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
    """SHA-256 of this folder's modules: an edit may change voxels, and preparing again is cheaper than being wrong.

    Planning is left out: what it decides is in the plan's own hash.
    """
    folder, digest = Path(__file__).parent, hashlib.sha256()
    for module in sorted(folder.rglob("*.py")):
        if module.parent != folder / "planning":
            digest.update(module.read_bytes())
    return digest.hexdigest()


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
