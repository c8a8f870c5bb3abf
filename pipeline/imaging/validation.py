"""Validate scan files: problems, warnings and measured facts of each."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pipeline.imaging.cropping import mask_focus, refuse_mask_outside, refuse_point_outside
from pipeline.imaging.geometry import Grid
from pipeline.imaging.io.affine import spacing_of
from pipeline.imaging.io.discover import ScanFiles, find_scans, hash_of
from pipeline.imaging.io.read import (
    hash_values,
    orientation_of,
    read_stored,
    refuse_missing,
    refuse_other_grid,
    refusing,
    turned_grid,
    warn_about_values,
)
from pipeline.imaging.problems import CODES, Findings, Problem, ScanProblem, Verdict


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


@dataclass(frozen=True)
class Tolerance:
    """What a cohort puts up with, from its ingest section."""

    fill_nonfinite: float | None = None
    missing_channel: Literal["refuse", "zero"] = "refuse"


def check_files(files: ScanFiles, tolerance: Tolerance) -> ScanCheck:
    """Check one scan; a rejection bears the path of the file that is to blame, warnings that of the first."""
    noticed = [Findings(path) for path in files.channels if path is not None]
    mask = Findings(files.crop_mask) if files.crop_mask is not None else None
    everything = [*noticed, mask] if mask else noticed
    try:
        refuse_missing(files.channels, tolerance.missing_channel)
        parts = [inspect(findings, tolerance.fill_nonfinite) for findings in noticed]
        refuse_misfits(files, parts, mask)
        facts = facts_of(files, parts)
    except ScanProblem as problem:
        return ScanCheck(problem.path, (*warnings_of(everything), problem.problem), None)
    return ScanCheck(files.first, warnings_of(everything), facts)


def refuse_misfits(files: ScanFiles, parts: list[Inspected], mask: Findings | None) -> None:
    """Channels on other grids, a mask that is empty or elsewhere, a point outside; `mask` takes its reader's words."""
    first = parts[0]
    for part in parts[1:]:
        grid, _ = turned_grid(part.grid, first.grid.affine)
        refuse_other_grid(grid, first.grid, Findings(part.path), first.path.name)
    if mask is not None:
        focus = mask_focus(files)
        mask.warnings.extend(focus.problems)
        refuse_mask_outside(files, focus, first.grid)
    if files.crop_center_mm is not None:
        refuse_point_outside(files, first.grid)


def warnings_of(noticed: list[Findings]) -> tuple[Problem, ...]:
    """Those of all files, each with the file it was found in where there are several."""
    if len(noticed) == 1:
        return tuple(noticed[0].warnings)
    return tuple(
        replace(problem, found=f"{problem.found} in {findings.path.name}")
        for findings in noticed
        for problem in findings.warnings
    )


def facts_of(files: ScanFiles, parts: list[Inspected]) -> ScanFacts:
    """Those of the first channel, with hashes over all of them."""
    facts = parts[0].facts
    if len(files.channels) > 1:
        voxels = "".join(part.facts.voxel_sha256 for part in parts)
        facts = replace(facts, voxel_sha256=hashlib.sha256(voxels.encode()).hexdigest())
    return replace(facts, file_sha256=files.sha256())


def report_scans(paths: list[Path], as_json: bool) -> int:
    """Check all scans at or below `paths` and write the outcome to stdout; 1 if any is rejected, else 0.

    Raises `ValueError` for a folder without scans.
    """
    checks = (check_scan(scan) for scan in all_scans(paths))
    if as_json:
        checks = list(checks)
        sys.stdout.write(json.dumps({"scans": [check.summary() for check in checks]}, indent=2) + "\n")
    else:
        checks = list(show_problems(checks))
        sys.stdout.write(table_of(checks))
    return int(any(check.verdict == "reject" for check in checks))


def all_scans(paths: list[Path]) -> list[Path]:
    """The scans at or below each path, each once."""
    scans: dict[Path, None] = {}
    for path in paths:
        found = list(find_scans(path))
        if not found:
            raise ValueError(f"{path}: no scans in this folder, expected .nii, .nii.gz, .hdr/.img or DICOM files.")
        scans |= dict.fromkeys(found)
    return list(scans)


def show_problems(checks: Iterable[ScanCheck]) -> Iterable[ScanCheck]:
    """Pass the checks on, writing a line a problem as each scan is done."""
    for check in checks:
        for problem in check.problems:
            sys.stdout.write(f"{problem.verdict:<6} {problem.code:<17} {check.path}: {problem.message}\n")
        yield check


def table_of(checks: list[ScanCheck]) -> str:
    """How many scans have each problem, and how many each verdict."""
    codes = Counter(code for check in checks for code in {problem.code for problem in check.problems})
    rows = [("scans", "verdict", "code", "problem")]
    for code, count in codes.most_common():
        rows.append((str(count), CODES[code].verdict, code, CODES[code].meaning))
    verdicts = Counter(check.verdict for check in checks)
    totals = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in ("ok", "warn", "reject"))
    lines = [f"{scans:>6}  {verdict:<7}  {code:<17}  {meaning}" for scans, verdict, code, meaning in rows]
    return "\n".join([*(lines if codes else ()), f"{len(checks)} scans: {totals}"]) + "\n"
