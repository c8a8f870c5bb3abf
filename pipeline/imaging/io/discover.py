"""Find the scans of a folder or a table row, and the files that each consists of."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.columns import CROP_CENTER_MM, CROP_MASK, PATH
from pipeline.core.io import sha256

HALVES = (".hdr", ".img")
SEPARATOR = "|"
"""Between the files of a scan in the column `path` of cohort.csv; nothing between two is a channel that is missing."""


@dataclass(frozen=True)
class ScanFiles:
    """Where one scan lies."""

    channels: tuple[Path | None, ...]
    """A file or folder of DICOM slices a channel; None is one that was not acquired, but not all are."""
    crop_mask: Path | None = None
    """A mask of what the input is centred on."""
    crop_center_mm: tuple[float, float, float] | None = None
    """The point that the input is centred on, in RAS millimetres."""

    @property
    def first(self) -> Path:
        """The first file there is; the others lie on its grid."""
        return next(path for path in self.channels if path is not None)

    def sha256(self) -> str:
        """Of the file itself, or of all that the scan is made from."""
        parts = [hash_of(path) if path else "" for path in (*self.channels, self.crop_mask)]
        if len(self.channels) == 1 and self.crop_mask is None and self.crop_center_mm is None:
            return parts[0]
        return hashlib.sha256(f"{parts}{self.crop_center_mm}".encode()).hexdigest()


def split_paths(cell: str) -> list[str]:
    """The paths in a cell of the column `path`, one a channel."""
    return cell.split(SEPARATOR)


def join_paths(paths: list[str]) -> str:
    """The cell for one path a channel, empty where there is none."""
    return SEPARATOR.join(paths)


def files_of(row: Mapping[str, str], raw: Path) -> ScanFiles:
    """The files below `raw` that a row of cohort.csv names."""
    mask, center = row.get(CROP_MASK), row.get(CROP_CENTER_MM)
    return ScanFiles(
        tuple(raw / path if path else None for path in split_paths(row[PATH])),
        crop_mask=raw / mask if mask else None,
        crop_center_mm=tuple(float(number) for number in center.split()) if center else None,
    )


def hash_of(path: Path) -> str:
    """SHA-256 of a file, or over those of a pair's halves or of a series' files in the order of their names."""
    if halves := halves_of(path):
        files = halves
    elif path.is_dir():
        files = [child for child in sorted(path.iterdir()) if child.is_file()]
    else:
        return sha256(path)
    return hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()


def halves_of(path: Path) -> tuple[Path, Path] | None:
    """The .hdr and the .img of a pair, either of which may be given; None for another name."""
    stem, compression = (path.with_suffix(""), path.suffix) if path.suffix.lower() == ".gz" else (path, "")
    if stem.suffix.lower() not in HALVES:
        return None
    suffixes = [half.upper() if stem.suffix.isupper() else half for half in HALVES]
    # What was given keeps its own spelling, such as .Img.
    suffixes[HALVES.index(stem.suffix.lower())] = stem.suffix
    header, voxels = (path.with_name(stem.stem + suffix + compression) for suffix in suffixes)
    return header, voxels


SUFFIXES = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")
DICOM_SUFFIXES = (".dcm", ".ima")
DICOM_MAGIC = b"DICM"
DICOM_INDEX = "DICOMDIR"
"""The name that the standard gives to a medium's list of files, itself a DICOM file."""


def is_scan_name(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def find_scans(path: Path) -> Iterator[Path]:
    """The scans at or below a path, sorted: a .hdr/.img pair once, a DICOM series as its folder.

    A path that is no folder is taken as a scan, and so is a file or folder that may not be read: checking says so.
    """
    children = list_children(path)
    if children is None:
        yield path
        return
    for child in children:
        if child.name.startswith("."):
            continue
        if is_scan_name(child):
            if not is_second_half(child):
                yield child
        elif child.is_dir():
            if not leads_back(child):
                yield from find_scans(child)
        elif child.is_file() and not os.access(child, os.R_OK):
            yield child


def list_children(path: Path) -> list[Path] | None:
    """What lies in a folder of scans, sorted; None for a scan or what may not be read."""
    try:
        if not path.is_dir() or is_scan_name(path) or is_series(path):
            return None
        return sorted(path.iterdir())
    except OSError:
        return None


def leads_back(folder: Path) -> bool:
    """Is this a link to a folder it lies in, which a walk would follow for ever?"""
    return folder.is_symlink() and folder.resolve() in (folder.parent.resolve(), *folder.parent.resolve().parents)


def is_second_half(path: Path) -> bool:
    """Is this the .img beside a .hdr?"""
    header, voxels = halves_of(path) or (path, None)
    return path == voxels and header.exists()


def is_series(folder: Path) -> bool:
    """Does this folder hold DICOM slices? `OSError` where it may not be looked into."""
    if not folder.is_dir() or is_scan_name(folder):
        return False
    return any(child.is_file() and os.access(child, os.R_OK) and is_slice(child) for child in folder.iterdir())


def is_slice(path: Path) -> bool:
    """A DICOM file, by its suffix or by its magic, for many have none or end as their UID does."""
    if path.name.startswith(".") or path.name.upper() == DICOM_INDEX or is_scan_name(path):
        return False
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == DICOM_MAGIC
