"""One scan's work, as a worker process does it; it imports little, because every worker waits for its imports."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Plan
from pipeline.scans.entry import Record
from pipeline.scans.preprocessing import preprocess_scan
from pipeline.scans.scan_files import ScanFiles
from pipeline.scans.store import Store


@dataclass(frozen=True)
class Versions:
    """SHA-256 of what makes every voxel of a store: change one, and all is prepared again."""

    plan_sha256: str
    code_sha256: str


@dataclass(frozen=True)
class Job:
    """One scan to prepare, and the hash its files had when they were checked."""

    scan_id: str
    files: ScanFiles
    sha256: str


@dataclass(frozen=True)
class Outcome:
    """What became of a job: the record of the stored scan, or what is wrong with it."""

    scan_id: str
    record: Record | None = None
    error: str = ""


def attempt(job: Job, *, plan: Plan, folder: Path, versions: Versions) -> Outcome:
    """Prepare and store one scan; what is wrong with the scan is the outcome's error.

    Raises OSError where the store cannot be written, since no other scan could be either.
    """
    try:
        return Outcome(job.scan_id, complete(job, plan, Store(folder), versions))
    except ValueError as error:
        return Outcome(job.scan_id, error=str(error))
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; what is stored already is kept", str(folder)) from error


def complete(job: Job, plan: Plan, store: Store, versions: Versions) -> Record:
    if (found := hash_if_there(job.files)) is not None and found != job.sha256:
        raise ValueError(f"{job.files.first}: not the file that was checked, its hash differs; run 'dvc repro ingest'.")
    prepared = preprocess_scan(job.files, plan)
    return store.write(
        job.scan_id,
        prepared.array,
        prepared.affine,
        source_sha256=job.sha256,
        plan_sha256=versions.plan_sha256,
        code_sha256=versions.code_sha256,
        warnings=prepared.warnings,
    )


def hash_if_there(files: ScanFiles) -> str | None:
    """None where a file is missing, which reading says in its own words."""
    try:
        return files.sha256()
    except FileNotFoundError:
        return None
