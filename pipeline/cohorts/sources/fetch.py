"""Fetch a cohort: run its source in a staging folder, then put the new files in place of the old ones."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.config import Cohort
from pipeline.config.source import SOURCES, SourceKind
from pipeline.core.paths import CohortPaths

STAGING = ".fetching"
DOWNLOADS = "download"


def fetch_cohort(cohort: Cohort, paths: CohortPaths) -> None:
    """Write `paths.raw`, `paths.labels` and what else the cohort's source writes, such as a phantom's truth.

    A fetch that fails leaves the earlier files. One that is interrupted is never mistaken for a complete one, because
    the label table is replaced last. Raises `ValueError` or `FileNotFoundError` if the source cannot be read.
    """
    kind = SOURCES.get(cohort.source.kind)
    with _staging(paths) as new:
        kind.write(cohort.source, new, paths.folder / DOWNLOADS)
        _check_complete(kind, new)
        _put_in_place(new, paths)


def _check_complete(kind: SourceKind, new: CohortPaths) -> None:
    """A source must write all that it promises."""
    expected = [new.raw, *(new.folder / name for name in kind.extras), new.labels]
    missing = [str(path.relative_to(new.folder)) for path in expected if not _exists(path)]
    if missing:
        raise ValueError(f"source kind '{kind.name}' wrote no {', '.join(missing)}; its function must write them.")


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
    """Move everything new into place; a folder cannot be replaced in one step, so the table is absent meanwhile."""
    if paths.raw.is_dir() and not paths.raw.is_symlink():
        _remove(paths.labels)
    _replace(new.raw, paths.raw)
    for name in {name for kind in SOURCES.entries() for name in kind.extras}:
        _replace(new.folder / name, paths.folder / name)
    _replace(new.labels, paths.labels)


def _replace(new: Path, old: Path) -> None:
    """Move a file, link or folder over an older one; if there is nothing new, remove the older one."""
    if _is_folder(old) or _is_folder(new) or not _exists(new):
        _remove(old)
    if _exists(new):
        new.replace(old)


def _remove(path: Path) -> None:
    """Remove a file, a folder, or a link without its target."""
    if _is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _exists(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
