"""Checking a scan: what it is, and everything wrong with it."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.files import sha256
from pipeline.scans.checking.affine import spacing_of
from pipeline.scans.checking.codes import Findings, Problem, ScanProblem, Verdict
from pipeline.scans.checking.header import Header
from pipeline.scans.checking.voxels import hash_values, warn_about_values
from pipeline.scans.formats.reading import orientation_of, read_stored


@dataclass(frozen=True)
class ScanFacts:
    """What was measured of a scan, axes in the file's order."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    orientation: str
    """Where each axis points, such as RAS."""
    dtype: str
    """Number type as stored."""
    file_sha256: str
    voxel_sha256: str
    """Of shape and values: equal for a scan saved again in another dtype or compression."""


@dataclass(frozen=True)
class ScanCheck:
    """The outcome for one path; `facts` are None where the scan was rejected."""

    path: Path
    problems: tuple[Problem, ...]
    facts: ScanFacts | None

    @property
    def verdict(self) -> Verdict:
        if self.facts is None:
            return "reject"
        return "warn" if self.problems else "ok"

    @property
    def rejection(self) -> Problem | None:
        """Why the scan cannot be used: the last thing found, for checking ends there."""
        return self.problems[-1] if self.facts is None else None

    def summary(self) -> dict[str, Any]:
        """The form that `--json` prints."""
        problems = [asdict(problem) | {"message": problem.message} for problem in self.problems]
        return {"path": str(self.path), "verdict": self.verdict, "problems": problems}


def check_scan(path: Path, fill: float | None = None) -> ScanCheck:
    """Read one scan as every stage would, and say what is wrong with it instead of raising."""
    findings = Findings(path)
    try:
        header, stored = read_stored(findings, fill)
        warn_about_values(stored, findings)
        facts = measure(path, header, hash_values(stored, header))
    except ScanProblem as problem:
        return ScanCheck(path, (*findings.warnings, problem.problem), None)
    return ScanCheck(path, tuple(findings.warnings), facts)


def measure(path: Path, header: Header, voxel_sha256: str) -> ScanFacts:
    return ScanFacts(
        shape=header.shape,
        spacing_mm=tuple(float(size) for size in spacing_of(header.affine)),
        orientation=orientation_of(header.affine),
        dtype=header.dtype.name,
        file_sha256=hash_files(path),
        voxel_sha256=voxel_sha256,
    )


def hash_files(path: Path) -> str:
    """SHA-256 of a file, or of those of a series' files in the order of their names."""
    if path.is_file():
        return sha256(path)
    hashes = [sha256(child) for child in sorted(path.iterdir()) if child.is_file()]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()
