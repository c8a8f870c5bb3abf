"""Finding scans: which files and folders below a path are scans by their name."""

from collections.abc import Iterator
from pathlib import Path

SUFFIXES = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")
DICOM_SUFFIXES = (".dcm", ".ima")
DICOM_MAGIC = b"DICM"


def is_scan_name(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def find_scans(path: Path) -> Iterator[Path]:
    """The scans at or below a path, sorted: a .hdr/.img pair once, a DICOM series as its folder.

    A path that is no folder is taken as a scan.
    """
    if not path.is_dir() or is_scan_name(path) or is_series(path):
        yield path
        return
    for child in sorted(path.iterdir()):
        if is_scan_name(child):
            if not is_second_half(child):
                yield child
        elif child.is_dir() and not child.name.startswith(".") and not leads_back(child):
            yield from find_scans(child)


def leads_back(folder: Path) -> bool:
    """Is this a link to a folder it lies in, which a walk would follow for ever?"""
    return folder.is_symlink() and folder.resolve() in (folder.parent.resolve(), *folder.parent.resolve().parents)


def is_second_half(path: Path) -> bool:
    """Is this the .img beside a .hdr?"""
    name = path.name
    at = name.lower().rfind(".img")
    if at < 0:
        return False
    suffix = ".HDR" if name[at:].isupper() else ".hdr"
    return path.with_name(name[:at] + suffix + name[at + 4 :]).exists()


def is_series(folder: Path) -> bool:
    """Does this folder hold DICOM slices?"""
    if not folder.is_dir() or is_scan_name(folder):
        return False
    return any(child.is_file() and not is_scan_name(child) and is_slice(child) for child in folder.iterdir())


def is_slice(path: Path) -> bool:
    """A DICOM file, by its suffix or, for many have none, by its magic."""
    if path.suffix:
        return path.suffix.lower() in DICOM_SUFFIXES
    with path.open("rb") as file:
        return file.read(132)[128:] == DICOM_MAGIC
