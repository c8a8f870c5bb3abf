"""A folder of DICOM slices as one volume, with its geometry; what is not one even stack is refused."""

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
PLACE = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2, "Rows": 1, "Columns": 1}
"""Tags that place a slice in space, and how many numbers each holds."""
SAME_EXACTLY = ("SeriesInstanceUID", "Rows", "Columns", "BitsAllocated", "PixelRepresentation")
SAME_ABOUT = ("ImageOrientationPatient", "PixelSpacing")
EVEN = 0.05
"""Share of the slice distance by which a slice may lie off its place."""

Slice = pydicom.Dataset


def read_series(findings: Findings) -> tuple[Header, np.ndarray]:
    """Header and flat voxels, X (columns) fastest, slices in the order of their positions.

    Values are as stored where one slope and intercept hold for all slices, else scaled to float32.
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
    """What one file's bytes make pydicom raise is a problem of that file."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    # pydicom names no base class: damaged bytes end in any error of any of its parsers.
    except Exception as error:
        findings.reject("DCM-READ", f"{path.name}: {str(error).partition(chr(10))[0] or type(error).__name__}")


def parse_tags(one: Slice) -> None:
    """Raise here, whatever pydicom raises, for tags of a wrong form, which are parsed when first asked for."""
    for tag in SAME_EXACTLY:
        one.get(tag)
    for tag in ("NumberOfFrames", "SamplesPerPixel"):
        int(one.get(tag) or 1)
    slope, inter = scaling(one)
    if slope == 0 or not np.isfinite([slope, inter]).all():
        raise ValueError(f"slope {slope} and intercept {inter}, expected finite numbers and a slope")
    for tag, count in PLACE.items():
        if (value := one.get(tag)) is None:
            continue
        numbers = np.atleast_1d(np.array(value, np.float64))
        if numbers.shape != (count,) or not np.isfinite(numbers).all():
            raise ValueError(f"{tag} {value}, expected {count} finite numbers")


def check_slices(slices: list[Slice], findings: Findings) -> None:
    """Each is a grey slice with a place, and all are of one series and grid."""
    for one in slices:
        missing = [tag for tag in PLACE if one.get(tag) is None]
        if int(one.get("NumberOfFrames") or 1) > 1:
            findings.reject("DCM-FRAMES", f"{one.NumberOfFrames} frames in {name(one)}")
        if missing:
            findings.reject("DCM-TAG", f"no {', '.join(missing)} in {name(one)}")
        if int(one.get("SamplesPerPixel") or 1) != 1:
            findings.reject("DCM-COLOUR", f"{one.SamplesPerPixel} samples a pixel in {name(one)}")
    if len(slices) < 2:
        findings.reject("NII-FLAT", f"{len(slices)} slice")
    for tag in SAME_EXACTLY:
        values = sorted({str(one.get(tag)) for one in slices})
        if len(values) > 1:
            findings.reject("DCM-MIXED", f"{tag} {values[0]} and {values[1]}")
    for tag in SAME_ABOUT:
        values = np.array([one[tag].value for one in slices], np.float64)
        if not np.allclose(values, values[0], atol=1e-3):
            findings.reject("DCM-MIXED", f"{tag} {values.min(0).tolist()} to {values.max(0).tolist()}")


def check_stack(slices: list[Slice], findings: Findings) -> None:
    """Slices, sorted, lie evenly on a line; it may lean, as with a tilted gantry."""
    positions = np.array([position(one) for one in slices])
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    step = float(np.median(steps))
    if steps.min() < 1e-3:
        findings.reject("DCM-TWICE", f"{name(slices[steps.argmin()])} and {name(slices[steps.argmin() + 1])}")
    line = np.linspace(positions[0], positions[-1], len(positions))
    if np.linalg.norm(positions - line, axis=1).max() <= EVEN * step:
        return
    widest = int(steps.argmax())
    found = f"{steps[widest]:.4g} mm after {name(slices[widest])}, {step:.4g} mm elsewhere"
    multiple = steps[widest] / step
    is_gap = round(multiple) >= 2 and abs(multiple - round(multiple)) <= EVEN * multiple
    findings.reject("DCM-GAP" if is_gap else "DCM-UNEVEN", found)


def affine_of(slices: list[Slice]) -> np.ndarray:
    """(4, 4) float64, indices of (column, row, slice) to RAS+ mm, where DICOM counts towards left and posterior."""
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
    """(slices, rows, columns); scaled slice by slice where each has a scaling of its own, as in PET."""
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
    """Slope and intercept from stored values to the unit of the modality, such as HU."""
    return float(one.get("RescaleSlope", 1)), float(one.get("RescaleIntercept", 0))


def position(one: Slice) -> np.ndarray:
    """Centre of the first voxel in DICOM's LPS mm."""
    return np.array(one.ImagePositionPatient, np.float64)


def directions(one: Slice) -> np.ndarray:
    """(2, 3): unit vectors of increasing column and of increasing row."""
    return np.array(one.ImageOrientationPatient, np.float64).reshape(2, 3)


def normal(one: Slice) -> np.ndarray:
    return np.cross(*directions(one))


def name(one: Slice) -> str:
    return Path(one.filename).name
