"""Checking a scan: what it is, and everything wrong with it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.scans.checking.affine import spacing_of
from pipeline.scans.checking.codes import Findings, Problem, ScanProblem, Verdict
from pipeline.scans.checking.voxels import hash_values, warn_about_values
from pipeline.scans.formats.reading import orientation_of, read_stored, refusing
from pipeline.scans.geometry import Grid
from pipeline.scans.scan_files import hash_of


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


@dataclass(frozen=True)
class Inspected:
    """One file that can be used: its facts and its grid."""

    path: Path
    facts: ScanFacts
    grid: Grid


def check_scan(path: Path, fill: float | None = None) -> ScanCheck:
    """Read one scan as every stage would, and say what is wrong with it instead of raising."""
    findings = Findings(path)
    try:
        found = inspect(findings, fill)
    except ScanProblem as problem:
        return ScanCheck(path, (*findings.warnings, problem.problem), None)
    return ScanCheck(path, tuple(findings.warnings), found.facts)


def inspect(findings: Findings, fill: float | None = None) -> Inspected:
    """Read the file that `findings` are about, and add to them; raises `ScanProblem` where it cannot be used."""
    with refusing(findings):
        header, stored = read_stored(findings, fill)
        warn_about_values(stored, findings)
        facts = ScanFacts(
            shape=header.shape,
            spacing_mm=tuple(float(size) for size in spacing_of(header.affine)),
            orientation=orientation_of(header.affine),
            dtype=header.dtype.name,
            file_sha256=hash_of(findings.path),
            voxel_sha256=hash_values(stored, header),
        )
    return Inspected(findings.path, facts, Grid(header.shape, header.affine))
