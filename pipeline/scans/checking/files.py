"""Checking all files of a scan: each channel for itself, that they fit together, and what to crop to."""

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.scans.checking.codes import Findings, Problem, ScanProblem
from pipeline.scans.checking.scan import Inspected, ScanCheck, ScanFacts, inspect
from pipeline.scans.focus import mask_focus, refuse_mask_outside, refuse_point_outside
from pipeline.scans.formats.channels import refuse_missing, refuse_other_grid, turned_grid
from pipeline.scans.scan_files import ScanFiles


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
