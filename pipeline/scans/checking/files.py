"""Checking all files of a scan: each channel for itself, that they fit together, and what to crop to."""

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.scans.checking.codes import Findings, Problem, ScanProblem
from pipeline.scans.checking.scan import Inspected, ScanCheck, ScanFacts, inspect
from pipeline.scans.focus import mask_focus, refuse_point_outside
from pipeline.scans.formats.channels import refuse_missing, refuse_other_grid, turned_grid
from pipeline.scans.scan_files import ScanFiles


@dataclass(frozen=True)
class Tolerance:
    """What a cohort puts up with, from its ingest section."""

    fill_nonfinite: float | None = None
    missing_channel: Literal["refuse", "zero"] = "refuse"


def check_files(files: ScanFiles, tolerance: Tolerance) -> ScanCheck:
    """Check one scan; a rejection bears the path of the file that is to blame, warnings that of the first."""
    try:
        refuse_missing(files.channels, tolerance.missing_channel)
        parts = [inspect(path, tolerance.fill_nonfinite) for path in files.channels if path is not None]
        refuse_misfits(files, parts)
    except ScanProblem as problem:
        return ScanCheck(problem.path, (problem.problem,), None)
    return ScanCheck(files.first, warnings_of(parts), facts_of(files, parts))


def refuse_misfits(files: ScanFiles, parts: list[Inspected]) -> None:
    """Channels on other grids, an empty mask, a point outside."""
    first = parts[0]
    for part in parts[1:]:
        grid, _ = turned_grid(part.grid, first.grid.affine)
        refuse_other_grid(grid, first.grid, Findings(part.path), first.path.name)
    if files.crop_mask is not None:
        mask_focus(files)
    if files.crop_center_mm is not None:
        refuse_point_outside(files, first.grid)


def warnings_of(parts: list[Inspected]) -> tuple[Problem, ...]:
    """Those of all channels, each with the file it was found in where there are several."""
    if len(parts) == 1:
        return parts[0].warnings
    return tuple(
        replace(problem, found=f"{problem.found} in {part.path.name}") for part in parts for problem in part.warnings
    )


def facts_of(files: ScanFiles, parts: list[Inspected]) -> ScanFacts:
    """Those of the first channel, with hashes over all of them."""
    facts = parts[0].facts
    if len(files.channels) > 1:
        voxels = "".join(part.facts.voxel_sha256 for part in parts)
        facts = replace(facts, voxel_sha256=hashlib.sha256(voxels.encode()).hexdigest())
    return replace(facts, file_sha256=files.sha256())
