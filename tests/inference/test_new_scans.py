"""Every scan of a file, a folder, a DICOM tree or a table without labels is found once, under a name without ids."""

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from pipeline.config import Columns
from pipeline.imaging.io.read import read_scan
from pipeline.inference.new_scans import found_scans
from tests.imaging.dicom_making import write_nifti_twin

SHAPES = {"series 3": (4, 5, 6), "series 7": (5, 4, 3), "series 7, 2": (3, 4, 2)}


def write_tree(folder: Path) -> None:
    """Three series in a folder, two of them with one number, a fourth below it, and a NIfTI file beside the slices."""
    for name, shape in SHAPES.items():
        own = write_nifti_twin(folder / name, np.arange(np.prod(shape)).reshape(shape), np.eye(4))
        for path in own.iterdir():
            slice_ = pydicom.dcmread(path)
            slice_.SeriesNumber, slice_.PatientID = name.split(",")[0].split()[1], "secret"
            slice_.save_as(folder / f"{name}-{path.name}")
        shutil.rmtree(own)
    write_nifti_twin(folder / "deeper" / "still", np.ones((3, 3, 3)), np.eye(4))
    nibabel.save(nibabel.Nifti1Image(np.ones((2, 3, 4), np.int16), np.eye(4)), folder / "own.nii.gz")


def test_every_series_of_a_dicom_tree_is_a_scan_of_its_own(tmp_path: Path) -> None:
    write_tree(tmp_path / "tree")
    with found_scans([tmp_path / "tree"], Columns()) as scans:
        shapes = {scan.name.removeprefix(f"{tmp_path}/tree"): read_scan(scan.files.first).array.shape for scan in scans}
    expected = {f", {name}": shape for name, shape in SHAPES.items()}
    assert shapes == {**expected, "/deeper/still": (3, 3, 3), "/own.nii.gz": (2, 3, 4)}
    assert not scans[0].files.first.exists()


def test_a_folder_with_one_series_is_read_where_it_is(tmp_path: Path) -> None:
    folder = write_nifti_twin(tmp_path / "series", np.ones((3, 3, 3)), np.eye(4))
    with found_scans([folder], Columns()) as scans:
        assert [(scan.name, scan.files.first) for scan in scans] == [(str(folder), folder)]


def test_a_message_about_a_series_names_its_folder(tmp_path: Path) -> None:
    write_tree(tmp_path / "tree")
    with found_scans([tmp_path / "tree"], Columns()) as scans:
        message = scans[0].rename(f"{scans[0].files.first}: uneven")
    assert message == f"{tmp_path}/tree, series 3: uneven"


def test_the_rows_of_a_table_without_labels_are_scans(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("scan,age\nfirst.nii.gz,61\nsub/second.nii,7\n")
    with found_scans([tmp_path / "table.csv"], Columns(path="scan")) as scans:
        assert [(scan.name, scan.files.first) for scan in scans] == [
            ("first.nii.gz", tmp_path / "first.nii.gz"),
            ("sub/second.nii", tmp_path / "sub" / "second.nii"),
        ]
    with (
        pytest.raises(ValueError, match=r"table.csv: no column 'path' among scan, age"),
        found_scans([tmp_path / "table.csv"], Columns()),
    ):
        pass


@pytest.mark.parametrize(("name", "says"), [("absent", "no such file or folder"), ("", "no scans here, expected .nii")])
def test_a_path_without_scans_is_an_error(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(FileNotFoundError, match=says), found_scans([tmp_path / name], Columns()):
        pass
