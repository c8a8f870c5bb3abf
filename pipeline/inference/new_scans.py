"""Find new scans, which belong to no cohort: files, folders, DICOM trees and tables without labels."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from pipeline.cohorts.label_table import file_columns, quote_with_hint, select_files
from pipeline.config import Columns
from pipeline.core.columns import PATH
from pipeline.core.tables import read_table
from pipeline.imaging.io.dicom import all_series
from pipeline.imaging.io.discover import (
    ScanFiles,
    as_on_disk,
    find_scans,
    is_scan_name,
    is_series,
    readable_name,
    scan_files,
)
from pipeline.imaging.problems import ScanProblem

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".xlsx", ".xlsm")


@dataclass(frozen=True)
class NewScan:
    """The files of a scan, and what results and messages call it."""

    name: str
    files: ScanFiles

    def rename(self, text: str) -> str:
        """A message about the files, in which a folder of links has the name of the scan."""
        return text.replace(str(self.files.first), self.name)


@contextmanager
def found_scans(paths: list[Path], columns: Columns) -> Iterator[list[NewScan]]:
    """Each scan at or below the paths, and of the rows of tables; DICOM series that share a folder are apart.

    Raises `FileNotFoundError` for a path without scans. `columns` are those of the training's label table.
    """
    with tempfile.TemporaryDirectory(prefix="series-") as links:
        yield [scan for path in paths for scan in find_files(path, columns, Path(links))]


def find_files(path: Path, columns: Columns, links: Path) -> Iterator[NewScan]:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder.")
    if path.suffix.lower() in TABLE_SUFFIXES:
        yield from table_scans(path, columns)
        return
    found = list(find_scans(path))
    if not found:
        raise FileNotFoundError(f"{path}: no scans here, expected .nii, .nii.gz, .hdr/.img or DICOM files.")
    for scan in found:
        yield from scans_of(scan, links)


def scans_of(path: Path, links: Path) -> Iterator[NewScan]:
    """The scan of a file, or those of a folder with DICOM slices."""
    if path.is_dir():
        yield from split_series(path, links)
    else:
        yield NewScan(readable_name(path), ScanFiles((path,)))


def split_series(folder: Path, links: Path) -> Iterator[NewScan]:
    """The series of a folder, then the scans below it; of several series each gets a folder of links to its files.

    A folder that cannot be read is one scan, so that reading it tells why.
    """
    try:
        series = all_series(folder) if is_series(folder) else {}
    except (ScanProblem, OSError):
        series = {}
    if len(series) < 2:
        yield NewScan(readable_name(folder), ScanFiles((folder,)))
    else:
        for name, files in series.items():
            own = Path(tempfile.mkdtemp(dir=links))
            for file in files:
                (own / file.name).symlink_to(file.absolute())
            yield NewScan(f"{readable_name(folder)}, {name}", ScanFiles((own,)))
    for child in list_folder(folder):
        if child.is_dir() or is_scan_name(child):
            for scan in find_scans(child):
                yield from scans_of(scan, links)


def list_folder(folder: Path) -> list[Path]:
    """Its visible content, sorted; nothing of a folder that cannot be read."""
    try:
        return sorted(child for child in folder.iterdir() if not child.name.startswith("."))
    except OSError:
        return []


def table_scans(path: Path, columns: Columns) -> Iterator[NewScan]:
    """The scans of a table that has the file columns of the training's table; paths are relative to its folder."""
    table = read_table(path)
    for name in file_columns(columns):
        if name not in table.columns:
            raise ValueError(
                f"{path}: no column {quote_with_hint(name, table.columns)} among {', '.join(table.columns)}."
            )
    for row in pd.DataFrame(select_files(table, columns)).to_dict("records"):
        files = scan_files(row, path.parent)
        channels = tuple(channel and as_on_disk(channel) for channel in files.channels)
        mask = files.crop_mask and as_on_disk(files.crop_mask)
        yield NewScan(row[PATH], replace(files, channels=channels, crop_mask=mask))
