import nibabel as nib
import numpy as np
import pytest

from pipeline.imaging.io.discover import ScanFiles
from pipeline.imaging.preprocessing import preprocess_scan
from pipeline.imaging.problems import ScanProblem
from pipeline.imaging.validation import Tolerance, check_files
from tests.imaging.nifti_bytes import nifti
from tests.imaging.scan_making import blob, centered_affine, centroid_mm, make_plan, random_linear

SHAPE, SPOT_MM = (40, 44, 36), np.array([9.0, -6.0, 4.0])


@pytest.fixture
def scan(tmp_path):
    """A tilted scan with a bright spot away from its middle."""
    linear = random_linear(np.random.default_rng(2))
    affine = centered_affine(1.5 * linear / np.linalg.norm(linear, axis=0), SHAPE, np.zeros(3))
    return save(tmp_path / "scan.nii.gz", 1000 * blob(SHAPE, affine, SPOT_MM, width_mm=3), affine)


def save(path, array, affine):
    nib.save(nib.Nifti1Image(array.astype(np.float32), affine), path)
    return path


def middle_mm(prepared) -> np.ndarray:
    return (prepared.affine @ [*((np.array(prepared.array.shape[1:]) - 1) / 2), 1])[:3]


def test_the_input_is_centered_on_a_mask_with_its_own_grid(scan, tmp_path):
    affine = np.diag([-2.0, 1.0, 3.0, 1.0])
    affine[:3, 3] = [60, -50, -45]
    mask = np.linalg.norm(np.moveaxis(np.indices((60, 100, 30)), 0, -1) @ affine[:3, :3].T + affine[:3, 3] - SPOT_MM,
                          axis=-1) < 8  # fmt: skip
    files = ScanFiles((scan,), crop_mask=save(tmp_path / "mask.nii", mask, affine))
    prepared = preprocess_scan(files, make_plan(crop="mask", size_voxels=(16, 16, 16)))
    np.testing.assert_allclose(middle_mm(prepared), SPOT_MM, atol=1.5)
    np.testing.assert_allclose(centroid_mm(prepared.array[0], prepared.affine), SPOT_MM, atol=0.5)
    small = preprocess_scan(files, make_plan(crop="mask", size_voxels=(4, 16, 16)))
    assert any("of the mask's extent along D" in warning for warning in small.warnings)


def test_the_input_is_centered_on_a_point_to_half_a_voxel(scan):
    files = ScanFiles((scan,), crop_center_mm=tuple(SPOT_MM))
    prepared = preprocess_scan(files, make_plan(crop="point", size_voxels=(12, 12, 12)))
    assert np.linalg.norm((middle_mm(prepared) - SPOT_MM) / 2.0) < 0.5 * np.sqrt(3)
    assert prepared.warnings == ()


@pytest.mark.parametrize("crop", ["mask", "point"])
def test_what_the_plan_crops_to_must_be_given(scan, crop):
    with pytest.raises(ValueError, match=rf"scan\.nii\.gz: the plan crops to a {crop}, got none"):
        preprocess_scan(scan, make_plan(crop=crop))


def test_a_mask_outside_its_scan_is_rejected_by_checks_and_by_preprocessing(scan, tmp_path):
    affine = np.eye(4)
    affine[:3, 3] = 500
    files = ScanFiles((scan,), crop_mask=save(tmp_path / "mask.nii", np.ones(SHAPE), affine))
    with pytest.raises(ScanProblem, match=r"mask\.nii: the mask to crop to is outside the scan"):
        preprocess_scan(files, make_plan(crop="mask"))
    check = check_files(files, Tolerance())
    assert (check.path, check.rejection.code) == (files.crop_mask, "NII-CROP-OUTSIDE")


def test_a_point_outside_the_scan_is_rejected(scan):
    with pytest.raises(ValueError, match=r"scan\.nii\.gz: the point to crop to is outside the scan, got 900 0 0 mm"):
        preprocess_scan(ScanFiles((scan,), crop_center_mm=(900, 0, 0)), make_plan(crop="point"))


def test_what_the_reader_of_a_mask_notices_is_kept_with_its_name(scan, tmp_path):
    mask = tmp_path / "mask.nii"
    mask.write_bytes(nifti(np.ones((9, 9, 9), "u1"), srow_x=[2, 0, 0, 0], srow_y=[0, 2, 0, 0], srow_z=[0, 0, 2, 0],
                           bitpix=32))  # fmt: skip
    files = ScanFiles((scan,), crop_mask=mask)
    (problem,) = check_files(files, Tolerance()).problems
    assert problem.code == "NII-BITPIX" and problem.found.endswith("in mask.nii")
    assert any("NII-BITPIX" in warning for warning in preprocess_scan(files, make_plan(crop="mask")).warnings)


def test_an_empty_mask_is_rejected_by_name(scan, tmp_path):
    mask = save(tmp_path / "mask.nii", np.zeros(SHAPE), np.eye(4))
    with pytest.raises(ScanProblem, match=r"mask\.nii: the mask to crop to is empty"):
        preprocess_scan(ScanFiles((scan,), crop_mask=mask), make_plan(crop="mask"))
