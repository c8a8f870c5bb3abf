"""Several files of one scan as its channels, such as T1 and FLAIR on one grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.scans.checking.affine import corner_distance, spacing_of
from pipeline.scans.checking.codes import Findings
from pipeline.scans.formats.reading import Scan, read_scan
from pipeline.scans.geometry import Grid

TOLERANCE_VOXELS = 0.05
"""How far two channels' grids may lie apart at any corner."""
MissingChannel = Literal["refuse", "zero"]


@dataclass(frozen=True)
class Channels:
    """The scans of one session on one grid; None is a channel that was not acquired."""

    scans: tuple[Scan | None, ...]

    @property
    def present(self) -> list[Scan]:
        return [scan for scan in self.scans if scan is not None]

    @property
    def grid(self) -> Grid:
        """That of the first scan there is."""
        return Grid(self.present[0].array.shape, self.present[0].affine)

    def stacked(self) -> np.ndarray:
        """(C, X, Y, Z), X fastest in memory, zeros where a channel is missing; a single one is not copied."""
        if len(self.scans) == 1:
            return self.present[0].array[None]
        blank = np.zeros(self.grid.shape[::-1], np.uint8)
        return np.stack([blank if scan is None else scan.array.T for scan in self.scans]).transpose(0, 3, 2, 1)


def read_channels(
    paths: Sequence[Path | None], *, missing: MissingChannel = "refuse", fill: float | None = None
) -> Channels:
    """Read one file a channel, in order; they must lie on one grid, and a `None` is refused unless `missing` is zero.

    Raises `ScanProblem` naming the file that is missing or does not fit.
    """
    refuse_missing(paths, missing)
    channels = Channels(tuple(read_scan(path, fill) if path is not None else None for path in paths))
    first = channels.present[0]
    for scan in channels.present[1:]:
        refuse_other_grid(Grid(scan.array.shape, scan.affine), channels.grid, Findings(scan.path), first.path.name)
    return channels


def refuse_missing(paths: Sequence[Path | None], missing: MissingChannel) -> None:
    """At least one channel has a file, and all have where none may be missing."""
    present = [path for path in paths if path is not None]
    if not present:
        raise ValueError("no channel of the scan has a file, expected one at least.")
    if missing == "refuse" and len(present) < len(paths):
        absent = ", ".join(str(channel) for channel, path in enumerate(paths) if path is None)
        Findings(present[0]).reject("NII-CHANNEL-MISSING", f"no file for channel {absent} of {len(paths)}")


def refuse_other_grid(grid: Grid, first: Grid, findings: Findings, first_name: str) -> None:
    """The channel in `findings` must lie where the first one lies."""
    if grid.shape != first.shape:
        findings.reject("NII-CHANNEL-GRID", f"shape {grid.shape}, that of {first_name} {first.shape}")
    distance = corner_distance(grid.affine, first.affine, first.shape)
    if distance > TOLERANCE_VOXELS * float(spacing_of(first.affine).min()):
        findings.reject("NII-CHANNEL-GRID", f"corners up to {distance:.3g} mm from those of {first_name}")
