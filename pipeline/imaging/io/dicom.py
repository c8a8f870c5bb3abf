"""Read a folder of DICOM slices as one volume with its affine; anything but one evenly spaced stack is rejected."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom

from pipeline.imaging.io.affine import check_affine
from pipeline.imaging.io.discover import is_slice
from pipeline.imaging.io.nifti import Header
from pipeline.imaging.problems import Findings

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
PLACEMENT_TAGS = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2, "Rows": 1, "Columns": 1}
"""Tags that define the position of a slice in space, with the number of values of each."""
IDENTICAL_TAGS = ("SeriesInstanceUID", "Rows", "Columns", "BitsAllocated", "PixelRepresentation")
CLOSE_TAGS = ("ImageOrientationPatient", "PixelSpacing")
MAX_UNEVENNESS = 0.05
"""Largest distance of a slice from its expected position, as a share of the slice distance."""

Slice = pydicom.Dataset


def read_series(findings: Findings) -> tuple[Header, np.ndarray]:
    """Header and flat voxels, X (columns) fastest, slices in the order of their positions.

    Values are as stored if all slices have the same slope and intercept, else scaled to float32.
    """
    paths = sorted(path for path in findings.path.iterdir() if path.is_file() and is_slice(path))
    slices = [read_slice(path, findings, with_pixels=False) for path in paths]
    check_slices(slices, findings)
    order = np.argsort([position(one) @ normal(slices[0]) for one in slices], kind="stable")
    slices, paths = [slices[index] for index in order], [paths[index] for index in order]
    check_stack(slices, findings)
    affine = affine_of(slices)
    check_affine(affine, findings)
    shape = (int(slices[0].Columns), int(slices[0].Rows), len(slices))
    scalings = {scaling(one) for one in slices}
    slope, inter = scalings.pop() if len(scalings) == 1 else (1.0, 0.0)
    stored = read_pixels(paths, shape, is_scaled=bool(scalings), findings=findings)
    return Header(shape, stored.dtype, 0, slope, inter, affine), stored.reshape(-1)


def read_slice(path: Path, findings: Findings, *, with_pixels: bool) -> Slice:
    with parsing(path, findings):
        one = pydicom.dcmread(path, stop_before_pixels=not with_pixels)
        parse_tags(one)
        return one


@contextmanager
def parsing(path: Path, findings: Findings) -> Iterator[None]:
    """Turn any error that pydicom raises for a file into a rejection of that file."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    # pydicom has no base class of errors: damaged bytes can raise any error of any of its parsers.
    except Exception as error:
        findings.reject("DCM-READ", f"{path.name}: {str(error).partition(chr(10))[0] or type(error).__name__}")


def parse_tags(one: Slice) -> None:
    """Access the tags, so that pydicom, which parses on first access, raises its errors for malformed ones here."""
    for tag in IDENTICAL_TAGS:
        one.get(tag)
    for tag in ("NumberOfFrames", "SamplesPerPixel"):
        int(one.get(tag) or 1)
    slope, inter = scaling(one)
    if slope == 0 or not np.isfinite([slope, inter]).all():
        raise ValueError(f"slope {slope} and intercept {inter}, expected finite numbers and a slope other than 0")
    for tag, count in PLACEMENT_TAGS.items():
        if (value := one.get(tag)) is None:
            continue
        numbers = np.atleast_1d(np.array(value, np.float64))
        if numbers.shape != (count,) or not np.isfinite(numbers).all():
            raise ValueError(f"{tag} {value}, expected {count} finite numbers")


def check_slices(slices: list[Slice], findings: Findings) -> None:
    """Reject slices that are not grayscale, have no position, or are not all of one series and grid."""
    for one in slices:
        missing = [tag for tag in PLACEMENT_TAGS if one.get(tag) is None]
        if int(one.get("NumberOfFrames") or 1) > 1:
            findings.reject("DCM-FRAMES", f"{one.NumberOfFrames} frames in {name(one)}")
        if missing:
            findings.reject("DCM-TAG", f"no {', '.join(missing)} in {name(one)}")
        if int(one.get("SamplesPerPixel") or 1) != 1:
            findings.reject("DCM-COLOR", f"{one.SamplesPerPixel} samples per pixel in {name(one)}")
    if len(slices) < 2:
        findings.reject("NII-FLAT", f"{len(slices)} slice")
    for tag in IDENTICAL_TAGS:
        values = sorted({str(one.get(tag)) for one in slices})
        if len(values) > 1:
            findings.reject("DCM-MIXED", f"{tag} {values[0]} and {values[1]}")
    for tag in CLOSE_TAGS:
        values = np.array([one[tag].value for one in slices], np.float64)
        if not np.allclose(values, values[0], atol=1e-3):
            findings.reject("DCM-MIXED", f"{tag} {values.min(0).tolist()} to {values.max(0).tolist()}")


def check_stack(slices: list[Slice], findings: Findings) -> None:
    """Reject sorted slices that are not evenly spaced on a line; it may be oblique, as with a tilted gantry."""
    positions = np.array([position(one) for one in slices])
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    step = float(np.median(steps))
    if steps.min() < 1e-3:
        findings.reject("DCM-TWICE", f"{name(slices[steps.argmin()])} and {name(slices[steps.argmin() + 1])}")
    line = np.linspace(positions[0], positions[-1], len(positions))
    if np.linalg.norm(positions - line, axis=1).max() <= MAX_UNEVENNESS * step:
        return
    widest = int(steps.argmax())
    found = f"{steps[widest]:.4g} mm after {name(slices[widest])}, {step:.4g} mm elsewhere"
    multiple = steps[widest] / step
    is_gap = round(multiple) >= 2 and abs(multiple - round(multiple)) <= MAX_UNEVENNESS * multiple
    findings.reject("DCM-GAP" if is_gap else "DCM-UNEVEN", found)


def affine_of(slices: list[Slice]) -> np.ndarray:
    """(4, 4) float64, indices of (column, row, slice) to RAS+ mm; DICOM itself uses LPS."""
    along_row, along_column = directions(slices[0])
    between_rows, between_columns = (float(size) for size in slices[0].PixelSpacing)
    first, last = position(slices[0]), position(slices[-1])
    affine = np.eye(4)
    affine[:3, 0] = along_row * between_columns
    affine[:3, 1] = along_column * between_rows
    affine[:3, 2] = (last - first) / (len(slices) - 1)
    affine[:3, 3] = first
    return LPS_TO_RAS @ affine


def read_pixels(paths: list[Path], shape: tuple[int, int, int], *, is_scaled: bool, findings: Findings) -> np.ndarray:
    """(slices, rows, columns); scaled slice by slice if slices differ in their scaling, as in PET."""
    volume = None
    for index, path in enumerate(paths):
        one = read_slice(path, findings, with_pixels=True)
        with parsing(path, findings):
            pixels = one.pixel_array
        if pixels.shape != shape[1::-1]:
            findings.reject("DCM-READ", f"{path.name}: pixels of shape {pixels.shape}, expected {shape[1::-1]}")
        if is_scaled:
            slope, inter = scaling(one)
            pixels = pixels.astype(np.float32) * np.float32(slope) + np.float32(inter)
        if volume is None:
            volume = np.empty(shape[::-1], pixels.dtype)
        volume[index] = pixels
    return volume


def scaling(one: Slice) -> tuple[float, float]:
    """Slope and intercept that convert stored values to the unit of the modality, such as HU."""
    return float(one.get("RescaleSlope", 1)), float(one.get("RescaleIntercept", 0))


def position(one: Slice) -> np.ndarray:
    """Center of the first voxel in DICOM's LPS mm."""
    return np.array(one.ImagePositionPatient, np.float64)


def directions(one: Slice) -> np.ndarray:
    """(2, 3): unit vectors along increasing column and along increasing row."""
    return np.array(one.ImageOrientationPatient, np.float64).reshape(2, 3)


def normal(one: Slice) -> np.ndarray:
    return np.cross(*directions(one))


def name(one: Slice) -> str:
    return Path(one.filename).name
