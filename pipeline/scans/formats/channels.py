"""Several files of one scan as its channels, such as T1 and FLAIR on one grid."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from pipeline.scans.checking.affine import corner_distance, spacing_of
from pipeline.scans.checking.codes import Findings
from pipeline.scans.formats.reading import Scan, read_scan
from pipeline.scans.geometry import Affine, Grid

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

    The same grid may be stored in another order of axes, as tools do: then the voxels are turned to the first's.
    Raises `ScanProblem` naming the file that is missing or does not fit.
    """
    refuse_missing(paths, missing)
    scans = [read_scan(path, fill) if path is not None else None for path in paths]
    first = next(scan for scan in scans if scan is not None)
    return Channels(tuple(scan and turned(scan, first) for scan in scans))


def turned(scan: Scan, first: Scan) -> Scan:
    """The scan with its axes in the order and direction of the first one's; its memory is shared."""
    grid, change = turned_grid(Grid(scan.array.shape, scan.affine), first.affine)
    refuse_other_grid(grid, Grid(first.array.shape, first.affine), Findings(scan.path), first.path.name)
    return replace(scan, array=nib.apply_orientation(scan.array, change), affine=grid.affine)


def turned_grid(grid: Grid, affine: Affine) -> tuple[Grid, NDArray]:
    """The same grid in the order of axes that is nearest to another's, and nibabel's description of the change."""
    orientations = nib.orientations
    change = orientations.ornt_transform(orientations.io_orientation(grid.affine), orientations.io_orientation(affine))
    shape = tuple(grid.shape[int(axis)] for axis in np.argsort(change[:, 0]))
    return Grid(shape, grid.affine @ orientations.inv_ornt_aff(change, grid.shape)), change


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
