import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from nibabel.quaternions import quat2mat
from pydicom.uid import generate_uid

from pipeline.imaging.io.discover import find_scans
from pipeline.imaging.io.read import read_scan
from pipeline.imaging.problems import ScanProblem
from pipeline.imaging.validation import check_scan
from tests.imaging.dicom_making import write_slices

VOXELS = np.random.default_rng(0).integers(-1000, 1000, (6, 5, 4)).astype(np.int16)
"""(slices, rows, columns)."""


def write_series(folder: Path, *, rotation=(0.9, 0.1, -0.2, 0.3), step=(0, 0, 3), slope=1, inter=-1024, suffix=".dcm"):
    """A slice a file, named in another order than they lie; pixels of 0.8 by 0.6 mm."""
    frame = quat2mat(rotation)
    return write_slices(
        folder,
        VOXELS,
        axes=frame[:, :2].T,
        first_mm=(10, -20, 30),
        step_mm=frame @ step,
        pixel_mm=(0.8, 0.6),
        names=[f"{(index * 5) % 6}{suffix}" for index in range(6)],
        slope=slope,
        inter=inter,
    )


def edit(path: Path, **tags) -> None:
    slice_ = pydicom.dcmread(path)
    for tag, value in tags.items():
        setattr(slice_, tag, value)
    slice_.save_as(path)


def file_of(index: int) -> str:
    return f"{(index * 5) % 6}.dcm"


def test_values_and_geometry_equal_simpleitks(tmp_path):
    folder = write_series(tmp_path / "series")
    scan = read_scan(folder)
    image = SimpleITK.ReadImage(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    np.testing.assert_array_equal(scan.array, SimpleITK.GetArrayFromImage(image).T)
    for index in ((0, 0, 0), (3, 0, 0), (0, 4, 0), (3, 4, 5)):
        there = np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
        np.testing.assert_allclose((scan.affine @ [*index, 1])[:3], there, atol=1e-4)
    assert scan.array.flags.f_contiguous and check_scan(folder).verdict == "ok"


def test_slices_without_a_suffix_are_found_by_their_content(tmp_path):
    folder = write_series(tmp_path / "series", suffix="")
    assert list(find_scans(tmp_path)) == [folder]
    np.testing.assert_array_equal(read_scan(folder).array, VOXELS.T - 1024.0)


def test_slices_named_by_their_uid_are_found_and_a_mediums_index_is_none(tmp_path):
    folder = write_series(tmp_path / "series", suffix=".840.2")
    (folder / "notes.txt").write_text("not a slice")
    shutil.copy(next(folder.glob("*.2")), folder / "DICOMDIR")
    assert list(find_scans(tmp_path)) == [folder]
    np.testing.assert_array_equal(read_scan(folder).array, VOXELS.T - 1024.0)
    (tmp_path / "index").mkdir()
    shutil.copy(folder / "DICOMDIR", tmp_path / "index")
    assert list(find_scans(tmp_path)) == [folder]


def test_each_slices_own_scaling_is_used(tmp_path):
    folder = write_series(tmp_path / "series", inter=0)
    edit(folder / file_of(2), RescaleSlope=4)
    expected = VOXELS.astype(np.float32)
    expected[2] *= 4
    np.testing.assert_array_equal(read_scan(folder).array, expected.T)


def test_tilted_gantry_is_kept_with_a_warning(tmp_path):
    scan = read_scan(write_series(tmp_path / "series", rotation=(1, 0, 0, 0), step=(0, 1, 3)))
    assert [problem.code for problem in scan.warnings] == ["NII-SHEAR"]
    np.testing.assert_allclose(scan.affine[:3, 2], [0, -1, 3])


def move(folder: Path, index: int, distance: float) -> None:
    frame = quat2mat((0.9, 0.1, -0.2, 0.3))
    here = np.array(pydicom.dcmread(folder / file_of(index)).ImagePositionPatient, float)
    edit(folder / file_of(index), ImagePositionPatient=(here + frame[:, 2] * distance).round(6).tolist())


def spoil(path: Path, value: bytes, damaged: bytes) -> None:
    content = path.read_bytes()
    assert content.count(value) == 1
    path.write_bytes(content.replace(value, damaged))


BROKEN = {
    "DCM-GAP": lambda folder: (folder / file_of(3)).unlink(),
    "DCM-UNEVEN": lambda folder: move(folder, 3, 1.0),
    "DCM-TWICE": lambda folder: move(folder, 3, -3.0),
    "DCM-MIXED series": lambda folder: edit(folder / file_of(3), SeriesInstanceUID=generate_uid()),
    "DCM-MIXED spacing": lambda folder: edit(folder / file_of(3), PixelSpacing=[0.8, 0.7]),
    "DCM-MIXED direction": lambda folder: edit(folder / file_of(3), ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
    "DCM-TAG": lambda folder: edit(folder / file_of(3), ImagePositionPatient=None),
    "DCM-COLOR": lambda folder: edit(folder / file_of(3), SamplesPerPixel=3),
    "DCM-FRAMES": lambda folder: edit(folder / file_of(3), NumberOfFrames=6),
    "DCM-READ number": lambda folder: spoil(folder / file_of(3), b"0.8\\0.6", b"0.8\\x.6"),
    "DCM-READ slope": lambda folder: edit(folder / file_of(3), RescaleSlope=0),
    "DCM-READ text": lambda folder: (folder / file_of(3)).write_text("not DICOM"),
    "DCM-READ cut": lambda folder: (folder / file_of(3)).write_bytes((folder / file_of(3)).read_bytes()[:-9]),
    "NII-FLAT": lambda folder: [path.unlink() for path in folder.iterdir() if path.name != "0.dcm"],
}


@pytest.mark.parametrize("name", BROKEN)
def test_anything_but_an_even_stack_is_rejected(tmp_path, name):
    folder = write_series(tmp_path / "series")
    BROKEN[name](folder)
    check = check_scan(folder)
    assert (check.verdict, check.problems[-1].code) == ("reject", name.split()[0])


def test_single_slice_given_as_a_file_is_not_taken_for_nifti(tmp_path):
    folder = write_series(tmp_path / "series")
    assert check_scan(folder / "0.dcm").problems[-1].code == "DCM-FILE"


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """A byte changed, some cut out or some put in, most of them among the tags."""
    mutant = bytearray(content)
    at, kind = int(rng.integers(132, len(mutant))), rng.integers(6)
    if kind <= 3:
        mutant[at] = rng.integers(256)
    elif kind == 4:
        del mutant[at : at + int(rng.integers(1, 32))]
    else:
        mutant[at:at] = rng.bytes(int(rng.integers(1, 32)))
    return bytes(mutant)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("num_mutants", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_mutated_slice_ends_in_a_finite_volume_or_our_own_error(tmp_path, num_mutants):
    folder, rng = write_series(tmp_path / "series"), np.random.default_rng(num_mutants)
    valid, refused = (folder / "0.dcm").read_bytes(), 0
    for _ in range(num_mutants):
        (folder / "0.dcm").write_bytes(mutate(valid, rng))
        try:
            scan = read_scan(folder)
        except ScanProblem:
            refused += 1
            continue
        assert np.isfinite(scan.array).all() and abs(np.linalg.det(scan.affine)) > 0
    assert 0.1 < refused / num_mutants < 0.95, "mutants must neither all pass nor all fail"
