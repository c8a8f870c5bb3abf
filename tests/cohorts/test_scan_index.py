"""Rows of the label table and the scans of the folder: each finds the other, or is named."""

import json

import pytest

from pipeline.cohorts.ingest import ingest_cohort
from pipeline.cohorts.label_table import read_cohort
from tests.cohorts.eight_scans import HEADER, ROWS, changed, cohort, write_table
from tests.imaging.nifti_bytes import VOXELS, nifti


@pytest.mark.parametrize(
    ("code", "row", "words"),
    [
        ("TAB-NO-SCAN", {"path": "scans/7.nii.gz"}, "Did you mean 'scans/007.nii.gz'"),
        ("TAB-PATH", {"path": "../elsewhere.nii.gz"}, "'../elsewhere.nii.gz'"),
        ("TAB-PATH", {"path": "scans/../../elsewhere.nii.gz"}, "outside the scans folder"),
        ("TAB-PATH", {"path": "/etc/scan.nii.gz"}, "/etc/scan.nii.gz"),
        ("TAB-PATH", {"path": ""}, "''"),
        ("TAB-ID-TWICE", {"scan_id": "001"}, "row 3 ('001'), row 9 ('001')"),
        ("TAB-LABEL-MISSING", {"label": ""}, "row 9 ('007')"),
    ],
)
def test_bad_row_stops_with_its_name_and_reason(paths, code, row, words):
    write_table(paths, changed(7, **row))
    with pytest.raises(ValueError) as caught:
        ingest_cohort(cohort(), paths)
    assert f"[{code}]" in str(caught.value) and words in str(caught.value)
    assert not paths.cohort.exists() and not paths.ingest.exists()


def test_path_with_dots_and_an_absolute_one_may_stay_inside(paths):
    write_table(paths, changed(0, path="./scans/../scans/000.nii.gz"))
    ingest_cohort(cohort(), paths)
    write_table(paths, changed(0, path=str(paths.raw.absolute() / "scans" / "000.nii.gz")))
    ingest_cohort(cohort(), paths)
    assert read_cohort(paths.cohort)["path"][0] == "scans/000.nii.gz"


def test_raw_folder_may_be_a_link(paths, tmp_path):
    paths.raw.rename(tmp_path / "elsewhere")
    paths.raw.symlink_to(tmp_path / "elsewhere")
    ingest_cohort(cohort(), paths)
    assert len(read_cohort(paths.cohort)) == 8


def test_scans_without_a_row_are_listed(paths):
    (paths.raw / "mask.nii").write_bytes(nifti())
    ingest_cohort(cohort(), paths)
    (problem,) = json.loads(paths.ingest.read_text())["problems"]
    assert (problem["code"], problem["verdict"]) == ("TAB-NO-ROW", "warn") and "1: mask.nii" in problem["message"]


def test_every_scan_without_a_row_is_kept_in_the_summary(paths):
    names = [f"mask{number}.nii" for number in range(7)]
    for name in names:
        (paths.raw / name).write_bytes(nifti())
    ingest_cohort(cohort(), paths)
    assert json.loads(paths.ingest.read_text())["scans_without_row"] == names


def test_a_row_may_name_either_half_of_a_pair_and_both_are_in_its_hash(paths):
    header, voxels = nifti(magic=b"ni1\0", vox_offset=0)[:348], VOXELS.astype("<i2").tobytes(order="F")
    (paths.raw / "pair.hdr").write_bytes(header)
    other, hashes = VOXELS[::-1].astype("<i2").tobytes(order="F"), set()
    for half, content in (("pair.img", voxels), ("pair.hdr", voxels), ("pair.img", other)):
        (paths.raw / "pair.img").write_bytes(content)
        write_table(paths, changed(0, path=half))
        (paths.raw / "scans/000.nii.gz").unlink(missing_ok=True)
        ingest_cohort(cohort(), paths)
        assert json.loads(paths.ingest.read_text())["problems"] == []
        hashes.add(read_cohort(paths.cohort)["file_sha256"][0])
    assert len(hashes) == 2


def test_masks_that_another_column_names_are_no_scans_without_a_row(paths):
    (paths.raw / "mask.nii").write_bytes(nifti())
    write_table(paths, [[*HEADER, "mask"], *([*row, "mask.nii"] for row in ROWS)])
    ingest_cohort(cohort(), paths)
    assert json.loads(paths.ingest.read_text())["problems"] == []
