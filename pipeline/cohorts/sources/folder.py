"""A folder of scans and a table of labels, which are linked and never copied or changed."""

from pipeline.core.io import expand
from pipeline.core.paths import CohortPaths
from pipeline.core.tables import read_table


def link_folder(scans: str, table: str, new: CohortPaths) -> None:
    """Make `new.raw` a link to the folder `scans` and `new.labels` a link to the file `table`.

    Raises `ValueError` for a variable that is not set or a file that is no table, `FileNotFoundError` for a missing
    folder or table.
    """
    folder, file = expand(scans, "source.scans"), expand(table, "source.table")
    if not folder.is_dir():
        raise FileNotFoundError(f"source.scans: {folder} is not a folder; set it to the folder that holds the scans.")
    if not file.is_file():
        raise FileNotFoundError(f"source.table: {file} is not a file; set it to the table of labels.")
    new.raw.symlink_to(folder.resolve(), target_is_directory=True)
    read_table(file)
    new.labels.symlink_to(file.resolve())
