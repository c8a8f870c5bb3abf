"""Cohort sources: fetch a built-in cohort, or link a folder."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.cohorts.label_table import is_plain, read_spreadsheet
from pipeline.config import Cohort, FolderSource, MedmnistSource, PhantomSource
from pipeline.core.io import expand
from pipeline.core.paths import CohortPaths


def link_folder(source: FolderSource, paths: CohortPaths) -> None:
    """Make `paths.raw` a link to the scans and `paths.labels` one to the table.

    A table that later stages could not read as it is, from Excel or with decimal commas, is written as CSV instead.
    Raises `ValueError` for a variable that is not set, `FileNotFoundError` for a missing folder or table.
    """
    scans, table = expand(source.scans, "source.scans"), expand(source.table, "source.table")
    if not scans.is_dir():
        raise FileNotFoundError(f"source.scans: {scans} is not a folder; set it to the folder that holds the scans.")
    if not table.is_file():
        raise FileNotFoundError(f"source.table: {table} is not a file; set it to the table of labels.")
    paths.raw.symlink_to(scans.resolve(), target_is_directory=True)
    if is_plain(table):
        paths.labels.symlink_to(table.resolve())
    else:
        read_spreadsheet(table).to_csv(paths.labels, index=False)


STAGING = ".fetching"
DOWNLOAD = "download"


def fetch_cohort(cohort: Cohort, paths: CohortPaths) -> None:
    """Write `paths.raw`, `paths.labels` and, for a phantom, `paths.truth`; a folder of one's own is linked, not copied.

    A fetch that fails leaves what was there; one that is interrupted is never taken for a whole one, because the
    label table comes last. Raises `ValueError` or `FileNotFoundError` if the source cannot be read.
    """
    with _staging(paths) as new:
        _write(cohort.source, new, paths.folder / DOWNLOAD)
        _put_in_place(new, paths)


def _write(source: PhantomSource | MedmnistSource | FolderSource, new: CohortPaths, download: Path) -> None:
    """Let the source fill an empty cohort folder; each is imported only if it is the one."""
    if isinstance(source, PhantomSource):
        from pipeline.cohorts.phantom import write_phantom

        write_phantom(source, new)
    elif isinstance(source, MedmnistSource):
        from pipeline.cohorts.medmnist import write_medmnist

        write_medmnist(source, new, download)
    else:
        link_folder(source, new)


@contextmanager
def _staging(paths: CohortPaths) -> Iterator[CohortPaths]:
    """An empty cohort folder beside the files it will replace, so that renaming is enough."""
    folder = paths.folder / STAGING
    _remove(folder)  # left by a run that was killed
    folder.mkdir(parents=True)
    try:
        yield CohortPaths(folder)
    finally:
        _remove(folder)


def _put_in_place(new: CohortPaths, paths: CohortPaths) -> None:
    """Swap in everything new; a folder cannot be replaced in one step, so the table is gone meanwhile."""
    if paths.raw.is_dir() and not paths.raw.is_symlink():
        _remove(paths.labels)
    _replace(new.raw, paths.raw)
    _replace(new.truth, paths.truth)
    _replace(new.labels, paths.labels)


def _replace(new: Path, old: Path) -> None:
    """Move a file, link or folder over an older one, or remove that if there is nothing new."""
    if _is_folder(old) or _is_folder(new) or not new.is_symlink() and not new.exists():
        _remove(old)
    if new.is_symlink() or new.exists():
        new.replace(old)


def _remove(path: Path) -> None:
    """Remove a file, a folder, or a link without what it points to."""
    if _is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
