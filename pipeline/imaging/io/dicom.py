"""Read a folder of DICOM files as one volume with its affine; anything but one evenly spaced stack is rejected."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from pipeline.imaging.io.affine import check_affine
from pipeline.imaging.io.dicom_file import (
    IDENTICAL_TAGS,
    Dataset,
    Slice,
    is_image,
    parsing,
    read_file,
    read_frames,
    slices_of,
)
from pipeline.imaging.io.discover import is_series, is_slice
from pipeline.imaging.io.nifti import MAX_VOXELS, Header
from pipeline.imaging.problems import Findings

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
CLOSE_TAGS = ("ImageOrientationPatient", "PixelSpacing")
HEADER_IDS = {"patient_id": "PatientID", "study_uid": "StudyInstanceUID", "series_uid": "SeriesInstanceUID"}
"""Tags that name a person or what belongs to one."""
MAX_UNEVENNESS = 0.05
"""Largest distance of a slice from its expected position, as a share of the slice distance."""
MAX_NAMED = 5
"""Other series that a warning names."""
Files = list[tuple[Path, Dataset]]


def read_series(findings: Findings) -> tuple[Header, np.ndarray]:
    """Header and flat voxels, X (columns) fastest, slices in the order of their positions.

    Values are as stored if all slices have the same slope and intercept, else scaled to float32. Of several series the
    one with the most files is read; objects without an image are skipped. Both are warnings.
    """
    paths = dicom_files(findings.path)
    images = skip_other_objects([(path, read_file(path, findings)) for path in paths], findings)
    chosen = choose_series(images, findings)
    slices = [one for path, found in chosen for one in slices_of(path, found, findings)]
    check_slices(slices, findings)
    normal = np.cross(*slices[0].directions)
    slices.sort(key=lambda one: one.position @ normal)
    check_stack(slices, findings)
    affine = affine_of(slices)
    check_affine(affine, findings)
    shape = (*slices[0].size[::-1], len(slices))
    scalings = {(one.slope, one.inter) for one in slices}
    slope, inter = scalings.pop() if len(scalings) == 1 else (1.0, 0.0)
    stored = read_pixels(slices, is_scaled=bool(scalings), findings=findings)
    return Header(shape, stored.dtype, 0, slope, inter, affine), stored.reshape(-1)


def skip_other_objects(files: Files, findings: Findings) -> Files:
    """The images; presentation states, reports and contours lie beside them in many exports."""
    images = [(path, found) for path, found in files if is_image(found)]
    others = [path.name for path, found in files if not is_image(found)]
    if not images:
        findings.reject("DCM-NO-IMAGE", f"{len(others)}, such as {others[0]}")
    if others:
        findings.warn("DCM-OTHER", f"{len(others)}, such as {others[0]}")
    return images


def all_series(folder: Path) -> dict[str, list[Path]]:
    """The files of each series of a folder, under names such as `series 3` that have nothing of a patient.

    Raises `ScanProblem` for a file that is no DICOM, and for a folder without images.
    """
    findings = Findings(folder)
    images = skip_other_objects([(path, read_file(path, findings)) for path in dicom_files(folder)], findings)
    found: dict[str, list[Path]] = {}
    for files in group_series(images, findings):
        name = f"series {series_number(files)}"
        repeats = sum(other.split(",")[0] == name for other in found)
        found[f"{name}, {repeats + 1}" if repeats else name] = [path for path, _ in files]
    return found


def header_ids(path: Path) -> dict[str, str]:
    """Ids of patient, study and series from the header of the first slice of a folder; none of another scan."""
    if not is_series(path):
        return {}
    header = read_file(dicom_files(path)[0], Findings(path))
    return {name: str(header.get(tag) or "") for name, tag in HEADER_IDS.items()}


def dicom_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and is_slice(path))


def group_series(images: Files, findings: Findings) -> list[Files]:
    """The files of each series, those with the most images first, then by series number."""
    groups: dict[str, Files] = defaultdict(list)
    for path, found in images:
        with parsing(path, findings):
            groups[str(found.get("SeriesInstanceUID"))].append((path, found))
    return sorted(groups.values(), key=lambda files: (-num_slices(files), series_number(files), str(files[0][0])))


def choose_series(images: Files, findings: Findings) -> Files:
    """The files of the series with the most images; of equal ones, of the lowest series number."""
    ordered = group_series(images, findings)
    if len(ordered) > 1:
        named = [describe(files) for files in ordered[: MAX_NAMED + 1]] + ["…"] * (len(ordered) > MAX_NAMED + 1)
        findings.warn("DCM-SERIES", f"{len(ordered)}: {'; '.join(named)}")
    return ordered[0]


def num_slices(files: Files) -> int:
    frames = [str(found.get("NumberOfFrames") or 1) for _, found in files]
    return sum(int(number) if number.isdigit() else 1 for number in frames)


def series_number(files: Files) -> int:
    number = str(files[0][1].get("SeriesNumber") or "")
    return int(number) if number.isdigit() else 0


def describe(files: Files) -> str:
    """`6 of series 3 'T1 axial'`."""
    title = str(files[0][1].get("SeriesDescription") or "")
    return f"{num_slices(files)} of series {series_number(files)}{f' {title!r}' if title else ''}"


def check_slices(slices: list[Slice], findings: Findings) -> None:
    """Reject slices that have no position, or are not all of one grid and unit."""
    for one in slices:
        missing = [tag for tag, value in one.placed.items() if value is None]
        if missing:
            findings.reject("DCM-TAG", f"no {', '.join(missing)} in {one.name}")
    if len(slices) < 2:
        findings.reject("NII-FLAT", f"{len(slices)} slice")
    for tag in IDENTICAL_TAGS:
        values = sorted({one.shared[tag] for one in slices})
        if len(values) > 1:
            findings.reject("DCM-MIXED", f"{tag} {values[0]} and {values[1]}")
    for tag in CLOSE_TAGS:
        values = np.array([one.placed[tag] for one in slices])
        if not np.allclose(values, values[0], atol=1e-3):
            findings.reject("DCM-MIXED", f"{tag} {values.min(0).tolist()} to {values.max(0).tolist()}")
    rows, columns = slices[0].size
    if min(rows, columns) < 2:
        findings.reject("NII-FLAT", f"slices of {rows} by {columns}")
    if rows * columns * len(slices) > MAX_VOXELS:
        findings.reject("NII-HUGE", f"{len(slices)} slices of {rows} by {columns}")


def check_stack(slices: list[Slice], findings: Findings) -> None:
    """Reject sorted slices that are not evenly spaced on a line; it may be oblique, as with a tilted gantry."""
    positions = np.array([one.position for one in slices])
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    step = float(np.median(steps))
    if steps.min() < 1e-3:
        findings.reject("DCM-TWICE", f"{slices[steps.argmin()].name} and {slices[steps.argmin() + 1].name}")
    line = np.linspace(positions[0], positions[-1], len(positions))
    if np.linalg.norm(positions - line, axis=1).max() <= MAX_UNEVENNESS * step:
        return
    widest = int(steps.argmax())
    found = f"{steps[widest]:.4g} mm after {slices[widest].name}, {step:.4g} mm elsewhere"
    multiple = steps[widest] / step
    is_gap = round(multiple) >= 2 and abs(multiple - round(multiple)) <= MAX_UNEVENNESS * multiple
    findings.reject("DCM-GAP" if is_gap else "DCM-UNEVEN", found)


def affine_of(slices: list[Slice]) -> np.ndarray:
    """(4, 4) float64, indices of (column, row, slice) to RAS+ mm; DICOM itself uses LPS."""
    along_row, along_column = slices[0].directions
    between_rows, between_columns = slices[0].placed["PixelSpacing"]
    first, last = slices[0].position, slices[-1].position
    affine = np.eye(4)
    affine[:3, 0] = along_row * between_columns
    affine[:3, 1] = along_column * between_rows
    affine[:3, 2] = (last - first) / (len(slices) - 1)
    affine[:3, 3] = first
    return LPS_TO_RAS @ affine


def read_pixels(slices: list[Slice], *, is_scaled: bool, findings: Findings) -> np.ndarray:
    """(slices, rows, columns); scaled slice by slice if slices differ in their scaling, as in PET."""
    volume = None
    of_several: dict[Path, np.ndarray] = {}
    for index, one in enumerate(slices):
        if one.frame is None:
            pixels = read_frames(one, findings)
        else:
            if one.path not in of_several:
                of_several[one.path] = read_frames(one, findings)
            pixels = of_several[one.path][one.frame]
        if is_scaled:
            pixels = pixels.astype(np.float32) * np.float32(one.slope) + np.float32(one.inter)
        if volume is None:
            volume = np.empty((len(slices), *one.size), pixels.dtype)
        volume[index] = pixels
    return volume
