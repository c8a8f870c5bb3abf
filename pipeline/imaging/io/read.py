"""Read scans of any format into arrays with an affine; several files of a scan become channels."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from pipeline.config.ingest import SPACING_RANGE_MM
from pipeline.imaging.geometry import Affine, Grid, axcodes, spacing_mm
from pipeline.imaging.io.affine import corner_distance
from pipeline.imaging.io.discover import is_series
from pipeline.imaging.io.nifti import Header, read_nifti
from pipeline.imaging.io.values import check_overflow, fill_nonfinite, scale
from pipeline.imaging.problems import Findings, Problem

TOLERANCE_VOXELS = 0.05
"""How far the corners of two channels' grids may be apart."""
MissingChannel = Literal["reject", "zero"]


@dataclass(frozen=True)
class Scan:
    """A volume with axes (X, Y, Z) in the file's own order and values in the file's unit."""

    path: Path
    array: np.ndarray
    """(X, Y, Z), X fastest in memory; the stored dtype, or float32 if the file scales."""
    affine: np.ndarray
    """(4, 4) float64, voxel indices to RAS+ world coordinates in mm."""
    header: Header
    warnings: tuple[Problem, ...]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along (X, Y, Z)."""
        return tuple(float(size) for size in spacing_mm(self.affine))

    @property
    def orientation(self) -> str:
        """The direction of each axis, such as RAS."""
        return axcodes(self.affine)


def read_scan(
    path: Path | str, fill: float | None = None, spacing_range_mm: tuple[float, float] = SPACING_RANGE_MM
) -> Scan:
    """Read one scan; `fill` replaces NaN and infinite voxels, which are rejected without it, as are other voxel sizes.

    Raises `ScanProblem`, a `ValueError` with `code` and `found`, for a file that is rejected.
    """
    findings = Findings(Path(path), spacing_range_mm=spacing_range_mm)
    with reject_os_errors(findings):
        header, stored = read_stored(findings, fill)
        array = scale(stored, header).reshape(header.shape, order="F")
    return Scan(findings.path, array, header.affine, header, tuple(findings.warnings))


@contextmanager
def reject_os_errors(findings: Findings) -> Iterator[None]:
    """Turn errors of the operating system into a rejection of this scan, so that other scans continue."""
    try:
        yield
    except OSError as error:
        name = f" ({error.filename})" if error.filename and Path(error.filename) != findings.path else ""
        findings.reject("NII-ACCESS", f"{error.strerror or error}{name}")
    except MemoryError as error:
        findings.reject("NII-HUGE", str(error) or "no memory for it")


def read_stored(findings: Findings, fill: float | None) -> tuple[Header, np.ndarray]:
    """Header and flat, unscaled, valid voxels, from a NIfTI file or a folder of DICOM slices."""
    if is_series(findings.path):
        # Imported here, because importing pydicom takes longer than reading most scans.
        from pipeline.imaging.io.dicom import read_series

        header, stored = read_series(findings)
    else:
        header, stored = read_nifti(findings)
    fill_nonfinite(stored, header, fill, findings)
    check_overflow(stored, header, findings)
    return header, stored


ANY_SPACING_MM = (0.0, math.inf)
"""For scans that ingest has accepted."""


@dataclass(frozen=True)
class Channels:
    """The scans of one session on one grid; None is a channel that was not acquired."""

    scans: tuple[Scan | None, ...]

    @property
    def present(self) -> list[Scan]:
        return [scan for scan in self.scans if scan is not None]

    @property
    def grid(self) -> Grid:
        """The grid of the first scan that exists."""
        return Grid(self.present[0].array.shape, self.present[0].affine)

    def stacked(self) -> np.ndarray:
        """(C, X, Y, Z), X fastest in memory, zeros for a missing channel; a single channel is not copied."""
        if len(self.scans) == 1:
            return self.present[0].array[None]
        blank = np.zeros(self.grid.shape[::-1], np.uint8)
        return np.stack([blank if scan is None else scan.array.T for scan in self.scans]).transpose(0, 3, 2, 1)


def read_channels(
    paths: Sequence[Path | None],
    *,
    missing: MissingChannel = "reject",
    fill: float | None = None,
    spacing_range_mm: tuple[float, float] = SPACING_RANGE_MM,
) -> Channels:
    """Read one file per channel, in order, all on one grid; `None` is rejected unless `missing` is zero.

    A file may store the same grid with axes in another order or direction; its voxels are then reoriented to the first.
    Raises `ScanProblem` naming the file that is missing or on another grid.
    """
    check_channels_present(paths, missing)
    scans = [read_scan(path, fill, spacing_range_mm) if path is not None else None for path in paths]
    first = next(scan for scan in scans if scan is not None)
    return Channels(tuple(scan and reorient(scan, first) for scan in scans))


def reorient(scan: Scan, first: Scan) -> Scan:
    """The scan with its axes in the order and direction of the first one's; its memory is shared."""
    grid, change = reorient_grid(Grid(scan.array.shape, scan.affine), first.affine)
    check_same_grid(grid, Grid(first.array.shape, first.affine), Findings(scan.path), first.path.name)
    return replace(scan, array=nib.apply_orientation(scan.array, change), affine=grid.affine)


def reorient_grid(grid: Grid, affine: Affine) -> tuple[Grid, NDArray]:
    """The same grid with its axes nearest to those of another, and nibabel's description of the change."""
    orientations = nib.orientations
    change = orientations.ornt_transform(orientations.io_orientation(grid.affine), orientations.io_orientation(affine))
    shape = tuple(grid.shape[int(axis)] for axis in np.argsort(change[:, 0]))
    return Grid(shape, grid.affine @ orientations.inv_ornt_aff(change, grid.shape)), change


def check_channels_present(paths: Sequence[Path | None], missing: MissingChannel) -> None:
    """Reject a scan without any file, and one with a missing channel unless `missing` is zero."""
    present = [path for path in paths if path is not None]
    if not present:
        raise ValueError("no channel of the scan has a file, expected at least one.")
    if missing == "reject" and len(present) < len(paths):
        absent = ", ".join(str(channel) for channel, path in enumerate(paths) if path is None)
        Findings(present[0]).reject("NII-CHANNEL-MISSING", f"no file for channel {absent} of {len(paths)}")


def check_same_grid(grid: Grid, first: Grid, findings: Findings, first_name: str) -> None:
    """Reject a channel on another grid than the first."""
    if grid.shape != first.shape:
        findings.reject("NII-CHANNEL-GRID", f"shape {grid.shape}, while {first_name} has {first.shape}")
    distance = corner_distance(grid.affine, first.affine, first.shape)
    if distance > TOLERANCE_VOXELS * float(spacing_mm(first.affine).min()):
        findings.reject("NII-CHANNEL-GRID", f"corners up to {distance:.3g} mm from those of {first_name}")
