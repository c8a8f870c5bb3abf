import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from monai.transforms import LoadImage, Orientation
from nibabel.quaternions import quat2mat

from pipeline.imaging.io.monai_reader import ScanReader
from pipeline.imaging.problems import ScanProblem
from tests.imaging.nifti_bytes import VOXELS, nifti


@pytest.fixture
def oblique(tmp_path) -> Path:
    affine = np.eye(4)
    affine[:3, :3] = quat2mat([0.9, 0.1, -0.2, 0.3]) * [1, 2, -3]
    affine[:3, 3] = [4, 5, 6]
    path = tmp_path / "oblique.nii.gz"
    nibabel.save(nibabel.Nifti1Image(VOXELS, affine), path)
    return path


def test_every_voxel_has_the_world_position_that_monais_own_reader_gives(oblique):
    ours = LoadImage(reader=ScanReader())(oblique)
    theirs = LoadImage()(oblique)
    assert ours.shape == VOXELS.shape[::-1] and ours.is_contiguous()
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy().T)
    for index in ((0, 0, 0), (6, 5, 4), (2, 0, 3)):
        there = theirs.affine.numpy() @ [*index, 1]
        here = ours.affine.numpy() @ [*index[::-1], 1]
        np.testing.assert_allclose(here, there, atol=1e-5)


def test_after_orientation_tensor_and_affine_equal_those_of_monais_own_reader(oblique):
    ours, theirs = (
        Orientation(axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S")))(load(oblique))
        for load in (
            LoadImage(reader=ScanReader(), ensure_channel_first=True),
            LoadImage(ensure_channel_first=True),
        )
    )
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-5)


def test_rejected_scan_is_not_read_by_monais_other_readers_instead(tmp_path):
    path = tmp_path / "scan.nii"
    path.write_bytes(nifti(np.full((4, 4, 4), np.nan, "f4")))
    assert np.isnan(LoadImage()(path)).all()
    with pytest.raises(ScanProblem, match="NII-NONFINITE"):
        LoadImage(reader=ScanReader())(path)


def test_several_files_become_channels(tmp_path):
    paths = [tmp_path / "t1.nii", tmp_path / "flair.nii.gz"]
    paths[0].write_bytes(nifti())
    paths[1].write_bytes(gzip.compress(nifti(VOXELS + 1)))
    loaded = LoadImage(reader=ScanReader(), ensure_channel_first=True)(paths)
    np.testing.assert_array_equal(loaded.numpy(), np.stack([VOXELS.T, VOXELS.T + 1]))
