"""What ingestion writes of a cohort, and what stops it."""

import gzip
import json
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipeline.cohorts.ingest import ingest_cohort
from pipeline.cohorts.label_table import read_cohort
from tests.cohorts.eight_scans import HEADER, ROWS, changed, cohort, write_table
from tests.imaging.nifti_bytes import VOXELS, nifti


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
        "value_minimum": "-896", "value_low": "-873.76", "value_median": "78", "value_high": "889",
        "value_is_binary": "0",
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


def test_two_workers_write_the_same_bytes_as_one(paths, processes_for_short_work):
    ingest_cohort(cohort(), paths, workers=1)
    alone = paths.cohort.read_bytes(), paths.ingest.read_bytes()
    ingest_cohort(cohort(), paths, workers=2)
    assert (paths.cohort.read_bytes(), paths.ingest.read_bytes()) == alone


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


def test_same_voxels_under_two_ids_are_named(paths):
    (paths.raw / "scans/007.nii.gz").write_bytes(nifti(VOXELS.astype("f4")))
    ingest_cohort(cohort(), paths)
    codes = {problem["code"]: problem["message"] for problem in json.loads(paths.ingest.read_text())["problems"]}
    assert "000, 007" in codes["TAB-SAME-VOXELS"]


def test_warnings_are_in_their_row(paths):
    (paths.raw / "scans/003.nii.gz").write_bytes(gzip.compress(nifti(VOXELS * 2, bitpix=8)) + b"end")
    ingest_cohort(cohort(), paths)
    warnings = read_cohort(paths.cohort)["warnings"]
    assert warnings[3] == "NII-BITPIX NII-TRAILING" and set(warnings.drop(3)) == {""}


def test_empty_table_and_empty_folder_are_errors(paths, tmp_path):
    write_table(paths, [HEADER])
    with pytest.raises(ValueError, match="TAB-EMPTY"):
        ingest_cohort(cohort(), paths)
    for scan in (paths.raw / "scans").iterdir():
        scan.unlink()
    with pytest.raises(ValueError, match=f"{paths.raw}: no scans in this folder"):
        ingest_cohort(cohort(), paths)


def test_missing_folder_names_the_stage_that_writes_it(paths):
    moved: Path = paths.raw.rename(paths.folder / "moved")
    assert moved.exists()
    with pytest.raises(FileNotFoundError, match=r"pipeline\.fetch"):
        ingest_cohort(cohort(), paths)


def test_nonfinite_voxels_are_filled_if_the_config_has_a_fill(paths):
    voxels = VOXELS.astype("f4")
    voxels[0, 0, 0] = np.nan
    (paths.raw / "scans/000.nii.gz").write_bytes(gzip.compress(nifti(voxels)))
    with pytest.raises(ValueError, match="NII-NONFINITE"):
        ingest_cohort(cohort(), paths)
    ingest_cohort(cohort(ingest={"fill_nonfinite": 0}), paths)
    assert read_cohort(paths.cohort)["warnings"][0] == "NII-FILLED"
    with pytest.raises(ValueError, match="finite number"):
        cohort(ingest={"fill_nonfinite": math.nan})


def with_made_from(paths, made_from: dict[int, str]):
    """Add a column of the files that labels were made from, which the cohort declares as such."""
    write_table(paths, [[*HEADER, "outline"], *([*row, made_from.get(number, "")] for number, row in enumerate(ROWS))])
    return cohort(columns={"label_source": ["outline"]})


@pytest.mark.parametrize("name", ["scans/003.nii.gz", "scans/../scans/003.nii.gz", "outlines/link.nii.gz"])
def test_a_scan_that_a_label_was_made_from_is_rejected_whatever_its_name(paths, name):
    (paths.raw / "outlines").mkdir()
    (paths.raw / "outlines/link.nii.gz").symlink_to(paths.raw / "scans/003.nii.gz")
    with pytest.raises(ValueError, match=r"row 5 \('003'\).*\[TAB-LABEL-SOURCE\]"):
        ingest_cohort(with_made_from(paths, {6: name}), paths)
    assert not paths.cohort.exists()


def test_a_crop_mask_that_a_label_was_made_from_is_rejected_under_another_column_too(paths):
    (paths.raw / "outline.nii").write_bytes(nifti())
    write_table(paths, [[*HEADER, "where", "outline"], *([*row, "outline.nii", "outline.nii"] for row in ROWS)])
    cropped = cohort(columns={"label_source": ["outline"], "crop_mask": "where"}, preprocess={"crop": "mask"})
    with pytest.raises(ValueError, match=r"row 2 \('000'\), .* and 3 more.*\[TAB-LABEL-SOURCE\]"):
        ingest_cohort(cropped, paths)


def test_other_files_and_numbers_that_a_label_was_made_from_are_no_problem(paths):
    ingest_cohort(with_made_from(paths, {0: "outlines/000.nii.gz", 1: "2948.0"}), paths)
    assert len(read_cohort(paths.cohort)) == 8


def test_scans_off_the_scale_of_the_modality_or_of_the_cohort_are_named(paths):
    rng = np.random.default_rng(0)
    for number, row in enumerate(ROWS):
        values = rng.normal(-1000, 10, (8, 8, 8))
        values[2:6, 2:6, 2:6] = rng.normal(40, 10, (4, 4, 4))
        # Most of the cohort lost its rescale, and one scan is normalized besides.
        values = values + 1024 if number < 5 else values
        values = values / 2000 if number == 7 else values
        image = nib.Nifti1Image(values.astype(np.float32), np.eye(4))
        (paths.raw / row[2]).write_bytes(gzip.compress(image.to_bytes()))
    ingest_cohort(cohort(modality="CT"), paths)
    problems = json.loads(paths.ingest.read_text())["problems"]
    off = {problem["scan_id"] for problem in problems if problem["code"] == "NII-SCALE"}
    assert off == {"000", "001", "002", "003", "004", "007"}
    (apart,) = (problem["message"] for problem in problems if problem["code"] == "TAB-SCALES")
    assert "got 007 with values like" in apart and "7 scans such as 000, 001, 002" in apart


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda summary: summary.pop("num_scans"), "ingest.json: 'num_scans' is missing; run the stage that writes it"),
        (
            lambda summary: summary.update(num_scans=9),
            "cohort.csv: 8 rows, ingest counted 9 scans; run 'dvc repro ingest'",
        ),
    ],
)
def test_a_cohort_is_read_only_with_the_number_of_scans_that_ingest_counted(paths, change, says):
    ingest_cohort(cohort(), paths)
    summary = json.loads(paths.ingest.read_text())
    change(summary)
    paths.ingest.write_text(json.dumps(summary))
    with pytest.raises(ValueError, match=says):
        read_cohort(paths.cohort)
