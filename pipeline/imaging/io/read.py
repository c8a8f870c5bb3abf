"""Read scans of any format into arrays with an affine; several files of a scan become channels."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray

from pipeline.imaging.geometry import Affine, Grid
from pipeline.imaging.io.affine import corner_distance, spacing_of
from pipeline.imaging.io.discover import is_series
from pipeline.imaging.io.nifti import Header, read_nifti
from pipeline.imaging.problems import Findings, Problem, ScanProblem

LARGEST = float(np.finfo(np.float32).max)
LARGEST_EXACT = 1 << 24
"""Integers up to here are exact in float32."""
SLAB = 1 << 20
"""Voxels converted at a time."""


def fill_nonfinite(stored: np.ndarray, header: Header, fill: float | None, findings: Findings) -> None:
    """Put what scales to `fill` where NaN or infinity stands, in place; without a fill they are refused."""
    # NaN spreads through a sum of the extremes, so that a sound scan costs no array of booleans.
    if stored.dtype.kind != "f" or math.isfinite(sum(extremes(stored))):
        return
    count = 0
    for slab in slabs(stored):
        bad = ~np.isfinite(slab)
        count += int(bad.sum())
        if fill is not None:
            slab[bad] = (fill - header.inter) / header.slope
    if count:
        found = f"{count} of {stored.size} voxels"
        findings.warn("NII-FILLED", found) if fill is not None else findings.reject("NII-NONFINITE", found)


def extremes(stored: np.ndarray) -> tuple[float, float]:
    """Smallest and largest stored value; NaN if there is one."""
    with np.errstate(invalid="ignore"):
        return float(stored.min()), float(stored.max())


def refuse_overflow(stored: np.ndarray, header: Header, findings: Findings) -> None:
    """Values that float32 turns into infinity."""
    if stored.dtype.itemsize < 4 and not header.is_scaled:
        return
    values = [header.slope * value + header.inter for value in extremes(stored)]
    if not max(map(abs, values)) <= LARGEST:
        findings.reject("NII-OVERFLOW", f"{min(values):.4g} to {max(values):.4g}")


def warn_about_values(stored: np.ndarray, findings: Findings) -> None:
    low, high = extremes(stored)
    if low == high:
        findings.warn("NII-CONSTANT", f"{low:g} everywhere")
    if stored.dtype.kind in "iu" and max(abs(low), abs(high)) > LARGEST_EXACT:
        findings.warn("NII-PRECISION", f"{low:.0f} to {high:.0f}")


def scale(stored: np.ndarray, header: Header) -> np.ndarray:
    """Values in the unit the file means: float32 where it scales, else as stored."""
    if not header.is_scaled:
        return stored
    values = stored.astype(np.float32)
    # A 64-bit value must not lose its last digits before a large intercept takes its first.
    precise = stored if stored.dtype.itemsize > 4 else values
    np.multiply(precise, header.slope, out=values, casting="same_kind")
    values += np.float32(header.inter)
    return values


def hash_values(stored: np.ndarray, header: Header) -> str:
    """SHA-256 of shape and float32 values: the same for the same voxels, whatever their dtype or compression."""
    digest = hashlib.sha256(repr(header.shape).encode())
    for slab in slabs(stored):
        # Adding zero makes -0.0 and 0.0 the same.
        digest.update(scale(slab, header).astype("<f4") + np.float32(0))
    return digest.hexdigest()


def slabs(stored: np.ndarray) -> list[np.ndarray]:
    """Views of at most `SLAB` voxels each."""
    return [stored[start : start + SLAB] for start in range(0, stored.size, SLAB)]


@dataclass(frozen=True)
class Scan:
    """A volume with axes (X, Y, Z) in the file's own order and values in the unit the file means."""

    path: Path
    array: np.ndarray
    """(X, Y, Z), X fastest in memory; the stored dtype, or float32 where the file scales."""
    affine: np.ndarray
    """(4, 4) float64, voxel indices to RAS+ world coordinates in mm."""
    header: Header
    warnings: tuple[Problem, ...]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along (X, Y, Z)."""
        return tuple(float(size) for size in spacing_of(self.affine))

    @property
    def orientation(self) -> str:
        """Where each axis points, such as RAS."""
        return orientation_of(self.affine)


def orientation_of(affine: np.ndarray) -> str:
    return "".join(aff2axcodes(affine))


def read_scan(path: Path | str, fill: float | None = None) -> Scan:
    """Read one scan; `fill` replaces NaN and infinite voxels, which are refused without it.

    Raises `ScanProblem`, a `ValueError` with `code` and `found`, for a file that cannot be used.
    """
    findings = Findings(Path(path))
    with refusing(findings):
        header, stored = read_stored(findings, fill)
        array = scale(stored, header).reshape(header.shape, order="F")
    return Scan(findings.path, array, header.affine, header, tuple(findings.warnings))


@contextmanager
def refusing(findings: Findings) -> Iterator[None]:
    """What the system has against reading a scan is a problem of that scan, and stops no other."""
    try:
        yield
    except OSError as error:
        name = f" ({error.filename})" if error.filename and Path(error.filename) != findings.path else ""
        findings.reject("NII-ACCESS", f"{error.strerror or error}{name}")
    except MemoryError as error:
        findings.reject("NII-HUGE", str(error) or "no memory for it")


def read_stored(findings: Findings, fill: float | None) -> tuple[Header, np.ndarray]:
    """Header and flat, unscaled voxels, of values that can be used, from a NIfTI file or a folder of DICOM slices."""
    if is_series(findings.path):
        # Only here, for pydicom takes longer to import than most scans take to read.
        from pipeline.imaging.io.dicom import read_series

        header, stored = read_series(findings)
    else:
        header, stored = read_nifti(findings)
    fill_nonfinite(stored, header, fill, findings)
    refuse_overflow(stored, header, findings)
    return header, stored


__all__ = ["Scan", "ScanProblem", "orientation_of", "read_scan", "read_stored", "refusing"]


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
