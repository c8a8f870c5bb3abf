"""The cohort sources of this project: `source: {kind: …}` in a cohort's config chooses one.

An entry is a function and the options it takes. The function fills the empty folder `new` with `new.raw` and
`new.labels`; what it downloads into `downloads` is kept. Configs are checked against the options before any work
starts, so a function imports heavy libraries only when it runs.
"""

from pathlib import Path
from typing import Literal

from pipeline.cohorts.sources.phantom.options import PhantomSource
from pipeline.config.columns import Columns
from pipeline.config.source import SOURCES, Source
from pipeline.core.io import expand
from pipeline.core.paths import CohortPaths
from pipeline.core.tables import read_table


@SOURCES.register("phantom", title="Generated brains with a planted lesion", options=PhantomSource, extras=("truth",))
def phantom(source: PhantomSource, new: CohortPaths, downloads: Path) -> None:
    from pipeline.cohorts.sources.phantom.generate import write_phantom

    write_phantom(source, new)


class MedmnistSource(Source):
    """A MedMNIST3D set with its official split, through the `medmnist` package."""

    kind: Literal["medmnist"]
    name: Literal["adrenal", "fracture", "nodule", "organ", "synapse", "vessel"]
    """Which of the six 3D sets."""
    size: Literal[28, 64] = 28
    """Voxels per axis."""


@SOURCES.register("medmnist", title="A MedMNIST3D set with its official split", options=MedmnistSource)
def medmnist(source: MedmnistSource, new: CohortPaths, downloads: Path) -> None:
    from pipeline.cohorts.sources.medmnist import MedmnistArchive, write_medmnist

    write_medmnist(MedmnistArchive(source.name, source.size), new, downloads)


class FolderSource(Source):
    """A folder of scans and a table of labels."""

    kind: Literal["folder"]
    scans: str
    """Folder that paths in the table start from; `$NAME` is read from the environment."""
    table: str
    """CSV, TSV, Excel or Parquet with one row per scan; `$NAME` is read from the environment."""
    bids_suffix: str | None = None
    """BIDS: which scans to take, such as T1w; the table is then participants.tsv, with one row per patient."""

    def check_columns(self, columns: Columns) -> None:
        if columns.channels and self.bids_suffix:
            raise ValueError("source.bids_suffix finds one file per scan, got columns.channels too")


@SOURCES.register("folder", title="Your own folder of scans and table of labels", options=FolderSource)
def folder(source: FolderSource, new: CohortPaths, downloads: Path) -> None:
    """Links to the user's own files, which are never copied or changed.

    Raises `ValueError` for a variable that is not set or a file that is no table, `FileNotFoundError` for a missing
    folder or table.
    """
    scans, table = expand(source.scans, "source.scans"), expand(source.table, "source.table")
    if not scans.is_dir():
        raise FileNotFoundError(f"source.scans: {scans} is not a folder; set it to the folder that holds the scans.")
    if not table.is_file():
        raise FileNotFoundError(f"source.table: {table} is not a file; set it to the table of labels.")
    new.raw.symlink_to(scans.resolve(), target_is_directory=True)
    read_table(table)
    new.labels.symlink_to(table.resolve())
