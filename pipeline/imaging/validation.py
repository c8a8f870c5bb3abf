"""Validate scan files: the problems of each scan, and what was measured of it."""

import functools
import hashlib
import json
import logging
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.config.ingest import SPACING_RANGE_MM
from pipeline.core.progress import show_progress
from pipeline.imaging.cropping import check_mask_inside, check_point_inside, mask_target
from pipeline.imaging.geometry import Grid, axcodes, spacing_mm
from pipeline.imaging.io.discover import ScanFiles, find_scans, hash_scan, readable_name
from pipeline.imaging.io.read import (
    MissingChannel,
    check_channels_present,
    check_same_grid,
    read_stored,
    reject_os_errors,
    reorient_grid,
)
from pipeline.imaging.io.values import hash_values, scale, warn_about_values
from pipeline.imaging.problems import CODES, Findings, Problem, ScanProblem, Verdict, on_one_line
from pipeline.imaging.value_range import ValueRange, measure_range, off_scale, sample_values

log = logging.getLogger(__name__)
COUNTED = 1_000


@dataclass(frozen=True)
class ScanFacts:
    """Measurements of a scan, axes in the file's order."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    orientation: str
    """The direction of each axis, such as RAS."""
    dtype: str
    """Number type as stored."""
    file_sha256: str
    voxel_sha256: str
    """Of shape and values: equal for a scan that was saved again in another dtype or compression."""
    values: ValueRange


@dataclass(frozen=True)
class ScanCheck:
    """The result for one path; `facts` is None if the scan was rejected."""

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
        """Why the scan was rejected: the last problem, because checks end there."""
        return self.problems[-1] if self.facts is None else None

    def summary(self) -> dict[str, Any]:
        """The form in JSON output."""
        problems = [asdict(problem) | {"message": problem.message} for problem in self.problems]
        return {"path": readable_name(self.path), "verdict": self.verdict, "problems": problems}


@dataclass(frozen=True)
class InspectedFile:
    """A usable file: its facts and its grid."""

    path: Path
    facts: ScanFacts
    grid: Grid


def check_scan(path: Path, fill: float | None = None) -> ScanCheck:
    """Read one scan as every stage does, and return its problems instead of raising."""
    findings = Findings(path)
    try:
        found = inspect(findings, fill)
    except ScanProblem as problem:
        return ScanCheck(path, (*findings.warnings, problem.problem), None)
    return ScanCheck(path, tuple(findings.warnings), found.facts)


def inspect(findings: Findings, fill: float | None = None, modality: str | None = None) -> InspectedFile:
    """Read the file of `findings` and add its problems to them; raises `ScanProblem` for a rejected file.

    With a modality its values are compared with the scale of that modality.
    """
    with reject_os_errors(findings):
        header, stored = read_stored(findings, fill)
        warn_about_values(stored, findings)
        values = measure_range(scale(sample_values(stored), header))
        if reason := off_scale(values, modality):
            findings.warn("NII-SCALE", reason)
        facts = ScanFacts(
            shape=header.shape,
            spacing_mm=tuple(float(size) for size in spacing_mm(header.affine)),
            orientation=axcodes(header.affine),
            dtype=header.dtype.name,
            file_sha256=hash_scan(findings.path),
            voxel_sha256=hash_values(stored, header),
            values=values,
        )
    return InspectedFile(findings.path, facts, Grid(header.shape, header.affine))


@dataclass(frozen=True)
class Tolerance:
    """What a cohort accepts, from its section `ingest`, and the modality of its scans."""

    fill_nonfinite: float | None = None
    missing_channel: MissingChannel = "reject"
    spacing_range_mm: tuple[float, float] = SPACING_RANGE_MM
    modality: str | None = None


def check_files(files: ScanFiles, tolerance: Tolerance) -> ScanCheck:
    """Check all files of a scan; a rejection has the path of the file that caused it, otherwise of the first."""
    new_findings = functools.partial(Findings, spacing_range_mm=tolerance.spacing_range_mm)
    by_channel = [new_findings(path) for path in files.channels if path is not None]
    mask = new_findings(files.crop_mask) if files.crop_mask is not None else None
    everything = [*by_channel, mask] if mask else by_channel
    try:
        check_channels_present(files.channels, tolerance.missing_channel)
        # Several channels may be of several modalities.
        modality = tolerance.modality if len(by_channel) == 1 else None
        parts = [inspect(findings, tolerance.fill_nonfinite, modality) for findings in by_channel]
        check_consistency(files, parts, mask)
        facts = merge_facts(files, parts)
    except ScanProblem as problem:
        return ScanCheck(problem.path, (*merge_warnings(everything), problem.problem), None)
    return ScanCheck(files.first, merge_warnings(everything), facts)


def check_consistency(files: ScanFiles, parts: list[InspectedFile], mask: Findings | None) -> None:
    """Reject channels on different grids and a mask or point outside the scan; `mask` collects the mask's warnings."""
    first = parts[0]
    for part in parts[1:]:
        grid, _ = reorient_grid(part.grid, first.grid.affine)
        check_same_grid(grid, first.grid, Findings(part.path), first.path.name)
    if mask is not None:
        target = mask_target(files)
        mask.warnings.extend(target.problems)
        check_mask_inside(files, target, first.grid)
    if files.crop_center_mm is not None:
        check_point_inside(files, first.grid)


def merge_warnings(by_file: list[Findings]) -> tuple[Problem, ...]:
    """The warnings of all files; of several files, each warning names its file."""
    if len(by_file) == 1:
        return tuple(by_file[0].warnings)
    return tuple(
        replace(problem, found=f"{problem.found} in {findings.path.name}")
        for findings in by_file
        for problem in findings.warnings
    )


def merge_facts(files: ScanFiles, parts: list[InspectedFile]) -> ScanFacts:
    """The facts of the first channel, with hashes over all files."""
    facts = parts[0].facts
    if len(files.channels) > 1:
        voxels = "".join(part.facts.voxel_sha256 for part in parts)
        facts = replace(facts, voxel_sha256=hashlib.sha256(voxels.encode()).hexdigest())
    return replace(facts, file_sha256=files.sha256())


def report_scans(paths: list[Path], as_json: bool) -> int:
    """Check all scans at or below `paths` and print the result; returns 1 if any is rejected, else 0.

    Raises `ValueError` for a folder without scans.
    """
    scans = all_scans(paths)
    checks = show_progress(map(check_scan, scans), len(scans), "check")
    if as_json:
        checks = list(checks)
        sys.stdout.write(json.dumps({"scans": [check.summary() for check in checks]}, indent=2) + "\n")
    else:
        checks = list(print_problems(checks))
        sys.stdout.write(format_table(checks))
    return int(any(check.verdict == "reject" for check in checks))


def all_scans(paths: list[Path]) -> list[Path]:
    """The scans at or below the paths, each once."""
    scans: dict[Path, None] = {}
    for path in paths:
        found = list(counted(find_scans(path)))
        if not found:
            raise ValueError(f"{path}: no scans in this folder, expected .nii, .nii.gz, .hdr/.img or DICOM files.")
        scans |= dict.fromkeys(found)
    return list(scans)


def counted(scans: Iterable[Path]) -> Iterable[Path]:
    """The scans, with a line in the log for every so many: a large archive takes minutes to walk."""
    for number, scan in enumerate(scans, start=1):
        if number % COUNTED == 0:
            log.info("check: %d scans found so far", number)
        yield scan


def print_problems(checks: Iterable[ScanCheck]) -> Iterable[ScanCheck]:
    """Yield the checks, after printing a line per problem of each."""
    for check in checks:
        for problem in check.problems:
            sys.stdout.write(
                f"{problem.verdict:<6} {problem.code:<17} {on_one_line(readable_name(check.path))}: {problem.message}\n"
            )
        yield check


def format_table(checks: list[ScanCheck]) -> str:
    """The number of scans with each problem and with each verdict."""
    codes = Counter(code for check in checks for code in {problem.code for problem in check.problems})
    rows = [("scans", "verdict", "code", "problem")]
    for code, count in codes.most_common():
        rows.append((str(count), CODES[code].verdict, code, CODES[code].meaning))
    verdicts = Counter(check.verdict for check in checks)
    totals = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in ("ok", "warn", "reject"))
    lines = [f"{scans:>6}  {verdict:<7}  {code:<17}  {meaning}" for scans, verdict, code, meaning in rows]
    return "\n".join([*(lines if codes else ()), f"{len(checks)} scans: {totals}"]) + "\n"
