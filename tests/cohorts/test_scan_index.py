"""Rows of the label table and the scans of the folder: each finds the other, or is named."""

import gzip
import json
import os
import unicodedata

import numpy as np
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


def test_a_name_composed_in_another_way_than_the_file_s_finds_it(paths):
    (paths.raw / "scans/000.nii.gz").rename(paths.raw / "scans" / unicodedata.normalize("NFD", "Größe ü.nii.gz"))
    write_table(paths, changed(0, path=unicodedata.normalize("NFC", "scans/Größe ü.nii.gz")))
    ingest_cohort(cohort(), paths)
    assert (paths.raw / read_cohort(paths.cohort)["path"][0]).is_file()
    assert json.loads(paths.ingest.read_text())["scans_without_row"] == []


def test_folders_that_link_to_one_another_are_walked_once(paths):
    for number in range(9):
        (paths.raw / f"f{number}").mkdir()
        for other in range(9):
            (paths.raw / f"f{number}" / f"to{other}").symlink_to(paths.raw / f"f{other}")
    (paths.raw / "f3" / "extra.nii.gz").write_bytes(nifti())
    ingest_cohort(cohort(), paths)
    assert json.loads(paths.ingest.read_text())["scans_without_row"] == ["f3/extra.nii.gz"]


def test_a_folder_elsewhere_is_found_through_its_link_although_it_links_back(paths, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (paths.raw / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(paths.raw)
    (tmp_path / "elsewhere" / "itself").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "extra.nii.gz").write_bytes(nifti())
    ingest_cohort(cohort(), paths)
    assert json.loads(paths.ingest.read_text())["scans_without_row"] == ["linked/extra.nii.gz"]


def test_a_file_whose_name_is_not_utf_8_is_named(paths):
    with open(os.fsencode(paths.raw) + b"/scans/M\xfcller.nii.gz", "wb") as file:
        file.write(nifti())
    ingest_cohort(cohort(), paths)
    assert json.loads(paths.ingest.read_text())["scans_without_row"] == [r"scans/M\xfcller.nii.gz"]


def test_a_table_that_lacks_every_scan_gets_few_hints_and_a_short_list(paths):
    rows = [[f"s{number}", f"p{number}", f"scans/lost{number}.nii.gz", "ill"] for number in range(1050)]
    write_table(paths, [HEADER, *rows])
    with pytest.raises(ValueError) as caught:
        ingest_cohort(cohort(), paths)
    lines = str(caught.value).splitlines()
    assert len(lines) == 1002 and lines[-1].startswith("  and ") and sum("Did you mean" in line for line in lines) <= 20


def test_voxels_of_another_scale_are_accepted_if_the_cohort_says_so(paths):
    small = {"srow_x": [0.01, 0, 0, 0], "srow_y": [0, 0.01, 0, 0], "srow_z": [0, 0, 0.02, 0]}
    fields = small | {"pixdim": [1, 0.01, 0.01, 0.02, 0, 0, 0, 0]}
    (paths.raw / "scans/000.nii.gz").write_bytes(gzip.compress(nifti(**fields)))
    with pytest.raises(ValueError, match=r"0.01×0.01×0.02 mm, expected 0.05 to 50; .*NII-SPACING-RANGE"):
        ingest_cohort(cohort(), paths)
    ingest_cohort(cohort(ingest={"spacing_range_mm": [0.001, 5]}), paths)
    assert read_cohort(paths.cohort)["spacing_mm"][0] == "0.01x0.01x0.02"
    with pytest.raises(ValueError, match="expected the smaller size first"):
        cohort(ingest={"spacing_range_mm": [5, 0.001]})


@pytest.mark.parametrize(("shape", "code"), [((7, 6, 5, 1, 1), None), ((7, 6, 5, 1, 1, 1, 1), None),
                                             ((7, 6, 5, 3, 1), "NII-4D"), ((7, 6, 5, 1, 3), "NII-5D")])  # fmt: skip
def test_further_axes_of_length_one_are_one_volume(paths, shape, code):
    voxels = np.resize(VOXELS, shape)
    (paths.raw / "scans/000.nii.gz").write_bytes(gzip.compress(nifti(voxels)))
    ingest_cohort(cohort(ingest={"on_bad_scan": "exclude"}), paths)
    assert [row["code"] for row in json.loads(paths.ingest.read_text())["excluded"]] == ([code] if code else [])


def test_an_absurd_path_is_one_line_of_sensible_length(paths):
    for name in ("scans/0\n00.nii.gz", "s/" * 5000):
        write_table(paths, changed(3, path=name))
        with pytest.raises(ValueError) as caught:
            ingest_cohort(cohort(), paths)
        lines = str(caught.value).splitlines()
        assert sum("TAB-NO-SCAN" in line for line in lines) == 1 and max(map(len, lines)) < 3000
        assert all(line.startswith(("  ", str(paths.folder), "003: ")) for line in lines)
