"""The folder of a small cohort."""

import gzip

import pytest

from pipeline.core.paths import CohortPaths
from tests.cohorts.eight_scans import HEADER, ROWS, write_table
from tests.imaging.nifti_bytes import VOXELS, nifti


@pytest.fixture
def paths(tmp_path) -> CohortPaths:
    """Eight sound scans of four patients, two a class."""
    paths = CohortPaths(tmp_path / "data")
    (paths.raw / "scans").mkdir(parents=True)
    for number, row in enumerate(ROWS):
        (paths.raw / row[2]).write_bytes(gzip.compress(nifti(VOXELS + number)))
    write_table(paths, [HEADER, *ROWS])
    return paths
