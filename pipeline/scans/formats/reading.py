"""Reading a scan as its file holds it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.orientations import aff2axcodes

from pipeline.scans.checking.affine import spacing_of
from pipeline.scans.checking.codes import Findings, Problem, ScanProblem
from pipeline.scans.checking.header import Header
from pipeline.scans.checking.voxels import fill_nonfinite, refuse_overflow, scale
from pipeline.scans.formats.finding import is_series
from pipeline.scans.formats.nifti import read_nifti


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
        from pipeline.scans.formats.dicom import read_series

        header, stored = read_series(findings)
    else:
        header, stored = read_nifti(findings)
    fill_nonfinite(stored, header, fill, findings)
    refuse_overflow(stored, header, findings)
    return header, stored


__all__ = ["Scan", "ScanProblem", "orientation_of", "read_scan", "read_stored", "refusing"]
