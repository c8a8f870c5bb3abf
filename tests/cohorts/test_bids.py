import gzip
from pathlib import Path

import pytest

from pipeline.cohorts.ingest import ingest_cohort
from pipeline.cohorts.label_table import read_cohort
from pipeline.config import Cohort
from pipeline.core.paths import CohortPaths
from tests.imaging.nifti_bytes import VOXELS, nifti

FILES = [
    "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
    "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz",
    "sub-01/ses-2/anat/sub-01_ses-2_T2w.nii.gz",
    "sub-02/anat/sub-02_T1w.nii.gz",
    "sub-03/anat/sub-03_acq-mprage_T1w.nii.gz",
    "sub-04/anat/sub-04_T1w.nii.gz",
    "derivatives/sub-04/anat/sub-04_desc-brain_T1w.nii.gz",
]


@pytest.fixture
def paths(tmp_path) -> CohortPaths:
    paths = CohortPaths(tmp_path)
    for number, file in enumerate(FILES):
        (paths.raw / file).parent.mkdir(parents=True, exist_ok=True)
        (paths.raw / file).write_bytes(gzip.compress(nifti(VOXELS + number)))
    participants("sub-01\t70\tAD", "sub-02\tn/a\tCN", "sub-03\t66\tAD", "sub-04\t59\tCN", to=paths.labels)
    return paths


def participants(*rows: str, to: Path, header: str = "participant_id\tage\tgroup") -> None:
    to.write_text("\n".join([header, *rows]) + "\n")


def cohort() -> Cohort:
    return Cohort.model_validate(
        {
            "name": "bids",
            "source": {"kind": "folder", "scans": "unused", "table": "unused", "bids_suffix": "T1w"},
            "columns": {"label": "group", "clinical": ["age"]},
            "positive_class": "AD",
            "modality": "MR",
            "laterality": "irrelevant",
        }
    )


def test_each_scan_of_the_suffix_has_its_patients_row(paths):
    ingest_cohort(cohort(), paths)
    table = read_cohort(paths.cohort)
    assert table[["scan_id", "patient_id", "path", "label", "age"]].values.tolist() == [
        ["sub-01_ses-1_T1w", "sub-01", FILES[0], "AD", "70"],
        ["sub-01_ses-2_T1w", "sub-01", FILES[1], "AD", "70"],
        ["sub-02_T1w", "sub-02", FILES[3], "CN", "n/a"],
        ["sub-03_acq-mprage_T1w", "sub-03", FILES[4], "AD", "66"],
        ["sub-04_T1w", "sub-04", FILES[5], "CN", "59"],
    ]


def test_patient_without_a_scan_is_named(paths):
    (paths.raw / FILES[3]).unlink()
    with pytest.raises(ValueError, match=r"sub-02: .*sub-02/\*\*/\*_T1w\.nii\.gz.*TAB-NO-SCAN"):
        ingest_cohort(cohort(), paths)


def test_missing_participant_id_is_named_with_the_nearest(paths):
    participants("sub-01\t70\tAD", to=paths.labels, header="participant\tage\tgroup")
    with pytest.raises(ValueError, match=r"participant_id.*Did you mean 'participant'"):
        ingest_cohort(cohort(), paths)


def test_ids_may_lack_sub_and_a_row_may_be_a_session(paths):
    rows = ["01\t1\t70\tAD", "01\tses-2\t71\tAD", "02\t\t60\tCN", "03\t\t66\tAD", "04\t\t59\tCN"]
    participants(*rows, to=paths.labels, header="participant_id\tsession_id\tage\tgroup")
    ingest_cohort(cohort(), paths)
    table = read_cohort(paths.cohort)
    assert table[["scan_id", "patient_id", "age"]].values.tolist()[:3] == [
        ["sub-01_ses-1_T1w", "01", "70"], ["sub-01_ses-2_T1w", "01", "71"], ["sub-02_T1w", "02", "60"],
    ]  # fmt: skip
    participants(*rows, "01\tses-9\t72\tAD", to=paths.labels, header="participant_id\tsession_id\tage\tgroup")
    with pytest.raises(ValueError, match=r"sub-01_ses-9: .*sub-01/ses-9/\*\*.*TAB-NO-SCAN"):
        ingest_cohort(cohort(), paths)
