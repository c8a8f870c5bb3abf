import numpy as np
import pytest

from pipeline.scans.formats.channels import read_channels
from pipeline.scans.formats.reading import ScanProblem, read_scan
from tests.scans.nifti_bytes import VOXELS, nifti
from tests.scans.scan_making import stored_as


@pytest.fixture
def write(tmp_path):
    def write_scan(name: str, *args, **fields):
        path = tmp_path / f"{name}.nii"
        path.write_bytes(nifti(*args, **fields))
        return path

    return write_scan


def test_channels_keep_their_order_values_and_place(write):
    paths = [write("t1"), write("flair", VOXELS * 0.5), write("t2", -VOXELS)]
    channels = read_channels(paths)
    np.testing.assert_array_equal(channels.stacked(), np.stack([VOXELS, VOXELS * 0.5, -VOXELS]))
    np.testing.assert_array_equal(channels.grid.affine, read_scan(paths[0]).affine)


@pytest.mark.parametrize(
    ("voxels", "fields"),
    [(VOXELS[:-1], {}), (VOXELS, {"srow_x": [2, 0, 0, -9]}), (VOXELS, {"srow_x": [-2, 0, 0, 4]})],
    ids=["another shape", "moved by half a voxel", "flipped and moved"],
)
def test_channels_on_another_grid_are_refused_by_name(write, voxels, fields):
    with pytest.raises(ScanProblem, match=r"flair\.nii.*t1\.nii") as caught:
        read_channels([write("t1"), write("flair", voxels, **fields)])
    assert caught.value.code == "NII-CHANNEL-GRID"


def test_the_same_grid_stored_in_another_order_of_axes_is_turned_to_the_firsts(write):
    affine = read_scan(write("t1")).affine
    for codes in ("LAS", "PIR", "SRA"):
        voxels, turned = stored_as(VOXELS * 0.5, affine, codes)
        rows = dict(zip(("srow_x", "srow_y", "srow_z"), turned[:3].tolist(), strict=True))
        channels = read_channels([write("t1"), write("flair", np.ascontiguousarray(voxels), **rows)])
        np.testing.assert_array_equal(channels.stacked(), np.stack([VOXELS, VOXELS * 0.5]))


def test_rounding_of_the_affine_is_no_other_grid(write):
    assert read_channels([write("t1"), write("flair", srow_x=[2.001, 0, 0, -10.001])]).stacked().shape[0] == 2


def test_missing_channel_is_refused_or_zeros(write):
    path = write("t1")
    with pytest.raises(ScanProblem, match="no file for channel 1 of 2"):
        read_channels([path, None])
    channels = read_channels([None, path], missing="zero")
    np.testing.assert_array_equal(channels.stacked(), [np.zeros_like(VOXELS), VOXELS])
    np.testing.assert_array_equal(channels.grid.affine, read_scan(path).affine)


def test_a_scan_without_any_file_is_refused():
    with pytest.raises(ValueError, match="no channel of the scan has a file"):
        read_channels([None, None], missing="zero")
