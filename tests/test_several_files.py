"""A cohort of several files a scan, some of them DICOM folders and some missing, from its table to new predictions."""

import csv
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from tests.conftest import Commands, cube_scan, write_project
from tests.imaging.dicom_making import write_nifti_twin

COHORT = """
source: {kind: folder, scans: $CUBES, table: $CUBES/labels.csv}
columns: {channels: [t1, flair], crop_center_mm: [r, a, s]}
positive_class: cube
modality: MR
laterality: irrelevant
ingest: {missing_channel: zero}
split: {test_fraction: 0.25, num_folds: 2}
preprocess: {spacing_mm: [3, 3, 3], size_voxels: [12, 12, 12], crop: point, intensity: {scheme: zscore}}
"""
HEADER = ["scan_id", "patient_id", "t1", "flair", "r", "a", "s", "label"]
CENTER = ["1.5", "-2", "0"]


@pytest.fixture
def sessions(tmp_path: Path) -> Path:
    """Twelve sessions: T1 as NIfTI, FLAIR, its negative, as a DICOM folder; in the third FLAIR is missing."""
    write_project(tmp_path, num_patients=1)
    generator = np.random.default_rng(1)
    rows = [HEADER]
    for number in range(12):
        image = cube_scan(generator, has_cube=number % 2 == 1, variant=number)
        name = f"p{number:02}"
        nibabel.save(image, tmp_path / "cubes" / f"{name}.nii.gz")
        write_nifti_twin(tmp_path / "cubes" / f"{name}_flair", 2000 - np.asarray(image.dataobj), image.affine)
        flair = "n/a" if number == 3 else f"{name}_flair"
        rows.append([name, name, f"{name}.nii.gz", flair, *CENTER, "cube" if number % 2 else "plain"])
    write_table(tmp_path / "cubes" / "labels.csv", rows)
    (tmp_path / "configs" / "cohorts" / "cubes.yaml").write_text(COHORT)
    return tmp_path


def write_table(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.mark.slow
def test_channels_reach_the_network_in_training_and_for_new_scans(sessions):
    command = Commands(sessions)
    for verb in ("fetch", "ingest", "split", "plan", "preprocess", "train", "predict"):
        command(verb, *(["training.max_epochs=1"] if verb == "train" else []))
    cohort = pd.read_csv(sessions / "data" / "cubes" / "cohort.csv")
    assert cohort["path"][:4].tolist() == [f"p0{n}.nii.gz|p0{n}_flair" for n in range(3)] + ["p03.nii.gz|"]

    whole, lacking = (
        nibabel.load(sessions / "data" / "cubes" / "preprocessed" / f"{name}.nii") for name in ("p00", "p03")
    )
    t1, flair, *presence = np.moveaxis(whole.get_fdata(), 3, 0)
    assert np.corrcoef(t1.ravel(), flair.ravel())[0, 1] < -0.5 and np.ptp(presence) == 0 and presence[0][0, 0, 0] == 1
    assert [float(np.abs(channel).max()) for channel in np.moveaxis(lacking.get_fdata(), 3, 0)[1:]] == [0, 1, 0]
    middle = whole.affine @ [5.5, 5.5, 5.5, 1]
    np.testing.assert_allclose(middle[:3], [1.5, -2, 0], atol=1.5)

    told = pd.read_csv(sessions / "runs" / "cubes" / "tiny" / "predictions" / "fold-0-seed-0.csv").set_index("scan_id")
    known = told.index[0]
    write_table(
        sessions / "cubes" / "new.csv",
        [HEADER[2:7], [f"{known}.nii.gz", "" if known == "p03" else f"{known}_flair", *CENTER]],
    )
    run = str(sessions / "runs" / "cubes" / "tiny" / "fold-0-seed-0")
    command("predict", "scans", str(sessions / "cubes" / "new.csv"), "--run", run, "--out", "new.csv")
    assert pd.read_csv(sessions / "new.csv")["prob_cube"].item() == pytest.approx(told["prob_cube"][known], abs=1e-6)


def test_what_is_wrong_with_any_file_of_a_scan_is_listed_at_once(sessions):
    cubes = sessions / "cubes"
    (cubes / "p04_flair" / "010.dcm").unlink()
    image = nibabel.load(cubes / "p05.nii.gz")
    nibabel.save(nibabel.Nifti1Image(image.get_fdata()[1:], image.affine), cubes / "p05.nii.gz")
    rows = list(csv.reader((cubes / "labels.csv").open()))
    rows[7][4] = "400"
    rows[8][5] = "left"
    rows[9][3] = "p08_flare"
    rows[10][2:4] = ["", ""]
    write_table(cubes / "labels.csv", rows)
    command = Commands(sessions)
    command("fetch")
    stopped = command("ingest", "cohort.ingest.missing_channel=reject", check=False)
    assert stopped.returncode == 1
    for name, code, words in (
        ("p03", "NII-CHANNEL-MISSING", "no file for channel 1 of 2"),
        ("p04", "DCM-GAP", "p04_flair"),
        ("p05", "NII-CHANNEL-GRID", "while p05.nii.gz has"),
        ("p06", "NII-CROP-CENTER", "400 -2 0 mm"),
        ("p07", "NII-CROP-CENTER", "'1.5 left 0'"),
        ("p08", "TAB-NO-SCAN", "Did you mean 'p08_flair'"),
        ("p09", "TAB-PATH", "'|'"),
    ):
        (line,) = (line for line in stopped.stderr.splitlines() if line.strip().startswith(f"{name}: "))
        assert f"[{code}]" in line and words in line
