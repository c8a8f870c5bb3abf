"""A folder of scans and a label table of one's own: linked, never copied or changed."""

from pipeline.cohorts.spreadsheet import is_plain, read_spreadsheet
from pipeline.config import FolderSource
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
