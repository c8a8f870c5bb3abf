"""Predictions as git revisions and DVC experiments left them."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

WORKSPACE = "workspace"
"""DVC's word for the files as they lie here."""


def read_revision(revision: str, folder: Path) -> pd.DataFrame:
    """The predictions, not checked, of all folds in `folder`, relative to the repository, as of `revision`.

    They come from git, or from DVC's cache or remote; ValueError if the revision or its predictions cannot be had.
    """
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError

    try:
        files = DVCFileSystem(rev=None if revision == WORKSPACE else revision)
        tables = [read_table(files, path) for path in sorted(files.glob(f"{folder.as_posix()}/fold-*.csv"))]
    except (DvcException, SCMError, OSError) as error:
        raise ValueError(
            f"{revision}: its predictions cannot be read ({error}); name a revision that git or DVC knows, and "
            "'dvc pull' what it stored."
        ) from None
    if not tables:
        raise ValueError(f"{revision}: no fold-<k>.csv in {folder}, expected predictions; 'dvc repro' writes them.")
    return pd.concat(tables, ignore_index=True)


def read_table(files: "AbstractFileSystem", path: str) -> pd.DataFrame:
    with files.open(path) as stream:
        return pd.read_csv(stream, dtype=str, keep_default_na=False)
