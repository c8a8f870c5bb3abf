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
from pipeline.core.paths import CohortPaths


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
    from pipeline.cohorts.sources.folder import link_folder

    link_folder(source.scans, source.table, new)
