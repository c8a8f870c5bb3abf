"""One scan's work, as a worker process does it; it imports little, because every worker waits for its imports."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Plan
from pipeline.files import sha256
from pipeline.scans.preprocessing import preprocess_scan
from pipeline.scans.store import Store


@dataclass(frozen=True)
class Versions:
    """SHA-256 of what makes every voxel of a store: change one, and all is prepared again."""

    plan_sha256: str
    code_sha256: str


@dataclass(frozen=True)
class Job:
    """One scan to prepare, and the hash its file had when it was checked."""

    scan_id: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class Outcome:
    """What became of a job: `error` is empty when the scan is in the store."""

    scan_id: str
    error: str = ""


def attempt(job: Job, *, plan: Plan, folder: Path, versions: Versions) -> Outcome:
    """Prepare and store one scan; what is wrong with the scan is the outcome's error.

    Raises OSError where the store cannot be written, since no other scan could be either.
    """
    try:
        complete(job, plan, Store(folder), versions)
    except ValueError as error:
        return Outcome(job.scan_id, str(error))
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; what is stored already is kept", str(folder)) from error
    return Outcome(job.scan_id)


def complete(job: Job, plan: Plan, store: Store, versions: Versions) -> None:
    if job.path.is_file() and sha256(job.path) != job.sha256:
        raise ValueError(f"{job.path}: not the file that was checked, its hash differs; run 'dvc repro ingest'.")
    prepared = preprocess_scan(job.path, plan)
    store.write(
        job.scan_id,
        prepared.array,
        prepared.affine,
        source_sha256=job.sha256,
        plan_sha256=versions.plan_sha256,
        code_sha256=versions.code_sha256,
        warnings=prepared.warnings,
    )
