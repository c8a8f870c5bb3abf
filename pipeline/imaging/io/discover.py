"""Find the scans of a folder or a table row, and the files that each consists of."""

import functools
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.columns import CROP_CENTER_MM, CROP_MASK, PATH
from pipeline.core.io import sha256

SUFFIXES = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")
DICOM_SUFFIXES = (".dcm", ".ima")
DICOM_MAGIC = b"DICM"
NO_PREAMBLE = re.compile(
    rb"[\x02\x08]\x00[\x00-\x20]\x00(?:(?:CS|DA|DT|IS|LO|OB|PN|SH|SQ|ST|TM|UI|UL|US)|.\x00\x00\x00)", re.DOTALL
)
"""First element of a file without preamble: group 2 or 8, then a value's type, or a length below 256."""
DICOM_INDEX = "DICOMDIR"
"""The standard's name for the list of files of a medium, itself a DICOM file."""
PAIR_SUFFIXES = (".hdr", ".img")
CHANNEL_SEPARATOR = "|"
"""Between the files of a scan in the column `path` of cohort.csv; an empty name is a missing channel."""


@dataclass(frozen=True)
class ScanFiles:
    """The files that one scan consists of."""

    channels: tuple[Path | None, ...]
    """One file or folder of DICOM slices per channel; None for a channel that was not acquired, but not for all."""
    crop_mask: Path | None = None
    """A mask of what the input is centered on."""
    crop_center_mm: tuple[float, float, float] | None = None
    """The point that the input is centered on, in RAS millimeters."""

    @property
    def first(self) -> Path:
        """The first file that exists; the others are on its grid."""
        return next(path for path in self.channels if path is not None)

    def sha256(self) -> str:
        """Of the file itself, or over everything that the scan consists of."""
        parts = [hash_scan(path) if path else "" for path in (*self.channels, self.crop_mask)]
        if len(self.channels) == 1 and self.crop_mask is None and self.crop_center_mm is None:
            return parts[0]
        return hashlib.sha256(f"{parts}{self.crop_center_mm}".encode()).hexdigest()


def split_paths(cell: str) -> list[str]:
    """The paths in a cell of the column `path`, one per channel."""
    return cell.split(CHANNEL_SEPARATOR)


def join_paths(paths: list[str]) -> str:
    """The cell of one path per channel, empty for a missing one."""
    return CHANNEL_SEPARATOR.join(paths)


def scan_files(row: Mapping[str, str], raw: Path) -> ScanFiles:
    """The files below `raw` that a row of cohort.csv names."""
    mask, center = row.get(CROP_MASK), row.get(CROP_CENTER_MM)
    return ScanFiles(
        tuple(raw / path if path else None for path in split_paths(row[PATH])),
        crop_mask=raw / mask if mask else None,
        crop_center_mm=tuple(float(number) for number in center.split()) if center else None,
    )


def hash_scan(path: Path) -> str:
    """SHA-256 of a file; for a pair or a series, of the hashes of its files in the order of their names."""
    if halves := pair_files(path):
        files = halves
    elif path.is_dir():
        files = [child for child in sorted(path.iterdir()) if child.is_file()]
    else:
        return sha256(path)
    return hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()


def readable_name(path: Path) -> str:
    """The path as text; bytes of a name that are not UTF-8 as `\\xfc`, because no table can hold them."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def as_on_disk(path: Path) -> Path:
    """The path as its folders spell it: systems differ in how they compose letters such as ü, people cannot see it."""
    if os.path.lexists(path) or path.parent == path:
        return path
    parent = as_on_disk(path.parent)
    wanted = unicodedata.normalize("NFC", path.name)
    return parent / names_in(parent).get(wanted, path.name)


@functools.lru_cache(maxsize=1024)
def names_in(folder: Path) -> dict[str, str]:
    """Names in a folder by their composed form; none if it cannot be read."""
    try:
        return {unicodedata.normalize("NFC", name): name for name in sorted(os.listdir(folder))}
    except OSError:
        return {}


def pair_files(path: Path) -> tuple[Path, Path] | None:
    """The .hdr and the .img of a pair, of which either may be given; None for any other name."""
    stem, compression = (path.with_suffix(""), path.suffix) if path.suffix.lower() == ".gz" else (path, "")
    if stem.suffix.lower() not in PAIR_SUFFIXES:
        return None
    suffixes = [half.upper() if stem.suffix.isupper() else half for half in PAIR_SUFFIXES]
    # The given file keeps its own spelling, such as .Img.
    suffixes[PAIR_SUFFIXES.index(stem.suffix.lower())] = stem.suffix
    header, voxels = (path.with_name(stem.stem + suffix + compression) for suffix in suffixes)
    return header, voxels


def is_scan_name(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def find_scans(path: Path) -> Iterator[Path]:
    """The scans at or below a path, sorted: a .hdr/.img pair once, a DICOM series as its folder.

    A path that is not a folder counts as a scan. So does a file or folder without permission to read, so that checks
    report it. A link to a folder that is walked anyway is not followed: folders may link to one another in circles.
    """
    walked: set[tuple[int, int]] = set()
    pending = [path]
    while pending:
        current = pending.pop()
        if current is not path and is_scan_name(current):
            yield from () if is_second_half(current) else (current,)
        elif current is path or current.is_dir():
            children = list_children(current)
            if children is None:
                yield current
            elif is_new_folder(current, path, walked):
                pending += [child for child in reversed(children) if not child.name.startswith(".")]
        elif current.is_file() and not os.access(current, os.R_OK):
            yield current


def is_new_folder(folder: Path, root: Path, walked: set[tuple[int, int]]) -> bool:
    """Whether a folder is to be walked, which it then is: a real one, or a link to one that no other way leads to."""
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    is_new = folder is root or not folder.is_symlink() or (identity not in walked and not leads_into(folder, root))
    walked.add(identity)
    return is_new


def leads_into(link: Path, root: Path) -> bool:
    """Whether a link's folder is below `root`, where it is walked under its own name; hidden folders are not walked."""
    target, real_root = link.resolve(), root.resolve()
    return target.is_relative_to(real_root) and not any(
        part.startswith(".") for part in target.relative_to(real_root).parts
    )


def list_children(path: Path) -> list[Path] | None:
    """The content of a folder of scans, sorted; None for a scan or a folder without permission to read."""
    try:
        if not path.is_dir() or is_scan_name(path) or is_series(path):
            return None
        return sorted(path.iterdir())
    except OSError:
        return None


def is_second_half(path: Path) -> bool:
    """Whether this is the .img beside a .hdr."""
    header, voxels = pair_files(path) or (path, None)
    return path == voxels and header.exists()


def is_series(folder: Path) -> bool:
    """Whether this folder contains DICOM slices; raises `OSError` without permission to read."""
    if not folder.is_dir() or is_scan_name(folder):
        return False
    return any(child.is_file() and os.access(child, os.R_OK) and is_slice(child) for child in folder.iterdir())


def is_slice(path: Path) -> bool:
    """Whether this is a DICOM file, by suffix or magic; many have no suffix, or one that is part of a UID."""
    if path.name.startswith(".") or path.name.upper() == DICOM_INDEX or is_scan_name(path):
        return False
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    with path.open("rb") as file:
        start = file.read(132)
    return start[128:] == DICOM_MAGIC or NO_PREAMBLE.match(start) is not None
