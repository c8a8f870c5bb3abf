import csv
import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.artifacts import CohortPaths
from pipeline.cohorts.cohort_table import read_cohort
from pipeline.cohorts.ingesting import ingest_cohort
from pipeline.config import Cohort
from tests.scans.nifti_bytes import VOXELS, nifti

HEADER = ["scan_id", "patient_id", "path", "label"]
ROWS = [[f"{number:03}", f"p{number // 2}", f"scans/{number:03}.nii.gz", "ill" if number > 3 else "fit"]
        for number in range(8)]  # fmt: skip


def cohort(**changes) -> Cohort:
    source = {"kind": "folder", "scans": "unused", "table": "unused"}
    common = {"name": "tiny", "source": source, "modality": "MR", "laterality": "relevant", "positive_class": "fit"}
    return Cohort.model_validate(common | changes)


@pytest.fixture
def paths(tmp_path) -> CohortPaths:
    """Eight sound scans of four patients, two a class."""
    paths = CohortPaths(tmp_path / "data")
    (paths.raw / "scans").mkdir(parents=True)
    for number, row in enumerate(ROWS):
        (paths.raw / row[2]).write_bytes(gzip.compress(nifti(VOXELS + number)))
    write_table(paths, [HEADER, *ROWS])
    return paths


def write_table(paths: CohortPaths, rows: list[list[str]]) -> None:
    with paths.labels.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def changed(row: int, **cells: str) -> list[list[str]]:
    """The sound table with some cells of one row replaced."""
    rows = [dict(zip(HEADER, cells_of_row, strict=True)) for cells_of_row in ROWS]
    rows[row] |= cells
    return [HEADER, *([row[name] for name in HEADER] for row in rows)]


def test_rows_carry_ids_as_text_and_what_was_measured(paths):
    ingest_cohort(cohort(), paths)
    table = read_cohort(paths.cohort)
    assert table["scan_id"].tolist() == [row[0] for row in ROWS]
    first = table.iloc[0].to_dict()
    hashes = {first.pop("file_sha256"), first.pop("voxel_sha256")}
    assert {len(digest) for digest in hashes} == {64} and len(hashes) == 2
    assert first == {
        "scan_id": "000", "patient_id": "p0", "path": "scans/000.nii.gz", "label": "fit", "shape": "7x6x5",
        "spacing_mm": "2x2x2", "orientation": "RAS", "dtype": "int16", "warnings": "",
    }  # fmt: skip


def test_summary_counts_and_puts_the_positive_class_last(paths):
    ingest_cohort(cohort(), paths)
    summary = json.loads(paths.ingest.read_text())
    assert summary["classes"] == ["ill", "fit"]
    assert (summary["num_scans"], summary["num_patients"], summary["problems"]) == (8, 4, [])
    assert summary["flow"] == [
        {"step": "rows in the label table", "scans": 8, "patients": 4},
        {"step": "scans in the cohort", "scans": 8, "patients": 4},
    ]


def test_covariates_are_kept_and_the_labels_source_is_not(paths):
    write_table(paths, [[*HEADER, "age", "volume"], *([*row, "70", "3.1"] for row in ROWS)])
    ingest_cohort(cohort(columns={"clinical": ["age"], "label_source": ["volume"]}), paths)
    table = read_cohort(paths.cohort)
    assert set(table["age"]) == {"70"} and "volume" not in table


def test_two_workers_write_the_same_bytes_as_one(paths):
    ingest_cohort(cohort(), paths, workers=1)
    alone = paths.cohort.read_bytes(), paths.ingest.read_bytes()
    ingest_cohort(cohort(), paths, workers=2)
    assert (paths.cohort.read_bytes(), paths.ingest.read_bytes()) == alone


@pytest.mark.parametrize(
    ("code", "row", "words"),
    [
        ("TAB-NO-SCAN", {"path": "scans/7.nii.gz"}, "Did you mean 'scans/007.nii.gz'"),
        ("TAB-PATH", {"path": "../elsewhere.nii.gz"}, "'../elsewhere.nii.gz'"),
        ("TAB-PATH", {"path": "scans/../../elsewhere.nii.gz"}, "leave the data folder"),
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


def test_all_problems_of_table_and_scans_come_at_once_and_earlier_outputs_stay(paths):
    ingest_cohort(cohort(), paths)
    before = paths.cohort.read_bytes(), paths.ingest.read_bytes()
    (paths.raw / "scans/001.nii.gz").write_bytes(b"")
    (paths.raw / "scans/002.nii.gz").unlink()
    write_table(paths, changed(5, label="nan"))
    with pytest.raises(ValueError) as caught:
        ingest_cohort(cohort(), paths)
    lines = str(caught.value).splitlines()
    assert "3 problems, nothing was written" in lines[0]
    assert [line.split("[")[-1] for line in lines[1:]] == ["TAB-LABEL-MISSING]", "NII-EMPTY]", "TAB-NO-SCAN]"]
    assert "001: " in lines[2] and "scans/001.nii.gz" in lines[2]
    assert (paths.cohort.read_bytes(), paths.ingest.read_bytes()) == before


def test_bad_scans_can_be_left_out_with_their_reasons(paths):
    (paths.raw / "scans/001.nii.gz").write_bytes(b"")
    (paths.raw / "scans/006.nii.gz").unlink()
    ingest_cohort(cohort(ingest={"on_bad_scan": "exclude"}), paths)
    assert read_cohort(paths.cohort)["scan_id"].tolist() == ["000", "002", "003", "004", "005", "007"]
    summary = json.loads(paths.ingest.read_text())
    reasons = {row["scan_id"]: row["code"] for row in summary["excluded"]}
    assert reasons == {"001": "NII-EMPTY", "006": "TAB-NO-SCAN"}
    assert summary["flow"] == [
        {"step": "rows in the label table", "scans": 8, "patients": 4},
        {"step": "excluded: NII-EMPTY", "scans": 1, "patients": 1},
        {"step": "excluded: TAB-NO-SCAN", "scans": 1, "patients": 1},
        {"step": "scans in the cohort", "scans": 6, "patients": 4},
    ]


def test_excluding_never_hides_that_a_class_became_too_small(paths):
    for number in (4, 5):
        (paths.raw / f"scans/{number:03}.nii.gz").unlink()
    with pytest.raises(ValueError, match=r"1 patient with 'ill'.*TAB-CLASS-SMALL"):
        ingest_cohort(cohort(ingest={"on_bad_scan": "exclude"}), paths)


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
    hashes = set()
    for half, content in (("pair.img", voxels), ("pair.hdr", voxels), ("pair.img", voxels[::-1])):
        (paths.raw / "pair.img").write_bytes(content)
        write_table(paths, changed(0, path=half))
        (paths.raw / "scans/000.nii.gz").unlink(missing_ok=True)
        ingest_cohort(cohort(), paths)
        assert json.loads(paths.ingest.read_text())["problems"] == []
        hashes.add(read_cohort(paths.cohort)["file_sha256"][0])
    assert len(hashes) == 2


def test_a_missing_covariate_hides_no_other_problem(paths):
    (paths.raw / "scans/001.nii.gz").write_bytes(b"")
    with pytest.raises(ValueError) as caught:
        ingest_cohort(cohort(columns={"clinical": ["age"]}), paths)
    assert "[TAB-COLUMN]" in str(caught.value) and "[NII-EMPTY]" in str(caught.value)


def test_warnings_found_before_a_rejection_are_kept(paths):
    voxels = np.full((4, 4, 4), np.nan, "f4")
    (paths.raw / "scans/001.nii.gz").write_bytes(gzip.compress(nifti(voxels, bitpix=8)))
    ingest_cohort(cohort(ingest={"on_bad_scan": "exclude"}), paths)
    problems = [problem["code"] for problem in json.loads(paths.ingest.read_text())["problems"]]
    assert problems == ["NII-BITPIX", "NII-NONFINITE"]


def test_masks_that_another_column_names_are_no_scans_without_a_row(paths):
    (paths.raw / "mask.nii").write_bytes(nifti())
    write_table(paths, [[*HEADER, "mask"], *([*row, "mask.nii"] for row in ROWS)])
    ingest_cohort(cohort(), paths)
    assert json.loads(paths.ingest.read_text())["problems"] == []


def test_same_voxels_under_two_ids_are_named(paths):
    (paths.raw / "scans/007.nii.gz").write_bytes(nifti(VOXELS.astype("f4")))
    ingest_cohort(cohort(), paths)
    codes = {problem["code"]: problem["message"] for problem in json.loads(paths.ingest.read_text())["problems"]}
    assert "000, 007" in codes["TAB-SAME-VOXELS"]


def test_warnings_stand_in_their_row(paths):
    (paths.raw / "scans/003.nii.gz").write_bytes(gzip.compress(nifti(VOXELS * 2, bitpix=8)) + b"end")
    ingest_cohort(cohort(), paths)
    warnings = read_cohort(paths.cohort)["warnings"]
    assert warnings[3] == "NII-BITPIX NII-TRAILING" and set(warnings.drop(3)) == {""}


@pytest.mark.parametrize(
    ("changes", "label", "code", "words"),
    [
        ({"positive_class": None}, "ill", "TAB-POSITIVE", "expected 'fit' or 'ill'"),
        ({"positive_class": "fitt"}, "ill", "TAB-POSITIVE", "Did you mean 'fit'"),
        ({"classes": ["fit", "ill"]}, "il", "TAB-LABEL-UNKNOWN", "'il' (Did you mean 'ill'?)"),
        ({"classes": ["fit", "ill", "sick"]}, "ill", "TAB-POSITIVE", "'fit' for 3 classes"),
        ({"classes": ["ill", "fit", "sad"], "positive_class": None}, "ill", "TAB-CLASS-SMALL", "0 patients with 'sad'"),
        ({"positive_class": None}, "odd", "TAB-CLASS-SMALL", "1 patient with 'odd'"),
    ],
)
def test_labels_that_do_not_fit_the_classes_are_refused(paths, changes, label, code, words):
    write_table(paths, changed(7, label=label))
    with pytest.raises(ValueError) as caught:
        ingest_cohort(cohort(**changes), paths)
    assert f"[{code}]" in str(caught.value) and words in str(caught.value)


def test_single_class_is_refused(paths):
    write_table(paths, [HEADER, *ROWS[:4]])
    with pytest.raises(ValueError, match=r"'fit' alone.*TAB-LABEL-SINGLE"):
        ingest_cohort(cohort(), paths)


def test_classes_keep_their_declared_order(paths):
    write_table(paths, [HEADER, *([*row[:3], "abc"[number % 3]] for number, row in enumerate(ROWS))])
    ingest_cohort(cohort(classes=["c", "a", "b"], positive_class=None), paths)
    assert json.loads(paths.ingest.read_text())["classes"] == ["c", "a", "b"]


def test_empty_table_and_empty_folder_are_said(paths, tmp_path):
    write_table(paths, [HEADER])
    with pytest.raises(ValueError, match="TAB-EMPTY"):
        ingest_cohort(cohort(), paths)
    for scan in (paths.raw / "scans").iterdir():
        scan.unlink()
    with pytest.raises(ValueError, match=f"{paths.raw}: no scans in this folder"):
        ingest_cohort(cohort(), paths)


def test_missing_folder_says_which_stage_makes_it(paths):
    moved: Path = paths.raw.rename(paths.folder / "moved")
    assert moved.exists()
    with pytest.raises(FileNotFoundError, match=r"pipeline\.fetch"):
        ingest_cohort(cohort(), paths)


def test_nonfinite_voxels_are_filled_where_the_config_says(paths):
    voxels = VOXELS.astype("f4")
    voxels[0, 0, 0] = np.nan
    (paths.raw / "scans/000.nii.gz").write_bytes(gzip.compress(nifti(voxels)))
    with pytest.raises(ValueError, match="NII-NONFINITE"):
        ingest_cohort(cohort(), paths)
    ingest_cohort(cohort(ingest={"fill_nonfinite": 0}), paths)
    assert read_cohort(paths.cohort)["warnings"][0] == "NII-FILLED"
    with pytest.raises(ValueError, match="finite number"):
        cohort(ingest={"fill_nonfinite": math.nan})


def several(**changes) -> Cohort:
    return cohort(task="multilabel", positive_class=None, **changes)


def test_labels_of_several_classes_are_kept_and_each_class_is_checked(paths):
    labels = ["a;b", "none", "b", "a", "b;a", "none", "a", "b"]
    write_table(paths, [HEADER, *([*row[:3], label] for row, label in zip(ROWS, labels, strict=True))])
    ingest_cohort(several(), paths)
    assert read_cohort(paths.cohort)["label"].tolist() == labels
    assert json.loads(paths.ingest.read_text())["classes"] == ["a", "b"]
    with pytest.raises(ValueError, match="'b'.*TAB-LABEL-UNKNOWN"):
        ingest_cohort(several(classes=("a", "c")), paths)
    write_table(paths, changed(0, label="fit;rare"))
    with pytest.raises(ValueError, match="1 patient with 'rare'"):
        ingest_cohort(several(), paths)
