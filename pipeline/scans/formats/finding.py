"""Finding scans: which files and folders below a path are scans, by their names and, of DICOM, by their first bytes."""

import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.scans.scan_files import halves_of

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
