import os
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.imaging.voxel_codes import decode, encode
from pipeline.store.nifti_entry import ScanRecord, read_entry, sha256_of, write_entry
from tests.imaging.scan_making import centered_affine, random_linear

RECORD = ScanRecord("scan é/1", "a" * 64, "b" * 64, "c" * 64, "d" * 64, ("something to know",))


def rotated_affine(shape: tuple[int, ...]) -> np.ndarray:
    linear = random_linear(np.random.default_rng(0))
    return centered_affine(linear, shape, np.array([10.0, -20.0, 30.0]))


@pytest.mark.parametrize("num_channels", [1, 3])
def test_nibabel_sees_the_same_values_at_the_same_places(tmp_path, num_channels):
    array = np.random.default_rng(0).normal(size=(num_channels, 5, 6, 7)).astype(np.float32)
    affine = rotated_affine(array.shape[1:])
    codes, slope = encode(array)
    write_entry(tmp_path / "scan.nii", codes, slope, affine, RECORD)
    image = nib.load(tmp_path / "scan.nii")
    assert image.shape == ((7, 6, 5) if num_channels == 1 else (7, 6, 5, num_channels))
    np.testing.assert_array_equal(image.get_fdata().reshape(7, 6, 5, -1).transpose(3, 2, 1, 0), decode(codes, slope))
    np.testing.assert_allclose(image.affine @ [1, 2, 3, 1], affine @ [3, 2, 1, 1], atol=1e-3)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-3)
    assert image.header.get_xyzt_units()[0] == "mm"


def test_the_checksum_is_that_of_a_plain_crc_over_the_file_without_it(tmp_path):
    path = tmp_path / "scan.nii"
    write_entry(path, *encode(np.ones((1, 4, 4, 4), np.float32)), np.eye(4), RECORD)
    written = nib.load(path).header["descrip"].item()
    assert int(written, 16) == zlib.crc32(path.read_bytes().replace(written, bytes(8)))


@pytest.mark.parametrize("num_channels", [1, 3])
def test_what_is_read_is_what_was_written(tmp_path, num_channels):
    array = np.random.default_rng(0).normal(size=(num_channels, 5, 6, 7)).astype(np.float32)
    codes, slope = encode(array)
    write_entry(tmp_path / "scan.nii", codes, slope, rotated_affine(array.shape[1:]), RECORD)
    entry = read_entry(tmp_path / "scan.nii")
    np.testing.assert_array_equal(entry.decode(), decode(codes, slope))
    np.testing.assert_allclose(entry.affine, rotated_affine(array.shape[1:]), atol=1e-5)
    assert entry.record == RECORD and sha256_of(entry.codes) == sha256_of(codes)


def test_voxels_stay_on_disk_and_cannot_be_written_and_no_file_is_held_open(tmp_path):
    path = tmp_path / "scan.nii"
    write_entry(path, *encode(np.ones((1, 4, 4, 4), np.float32)), np.eye(4), RECORD)
    files_open = len(os.listdir("/proc/self/fd"))
    entry = read_entry(path)
    assert str(path) in Path("/proc/self/maps").read_text()
    assert len(os.listdir("/proc/self/fd")) == files_open
    with pytest.raises(ValueError, match="read-only"):
        entry.codes[:] = 0


def test_a_file_takes_half_of_float32(tmp_path):
    array = np.random.default_rng(0).normal(size=(1, 32, 32, 32)).astype(np.float32)
    write_entry(tmp_path / "scan.nii", *encode(array), np.eye(4), RECORD)
    assert (tmp_path / "scan.nii").stat().st_size <= array.nbytes / 2 + 2048


@given(st.floats(1e-6, 1e6), st.integers(0, 1000))
def test_rounding_is_within_half_a_step_and_happens_once(scale, seed):
    array = np.random.default_rng(seed).normal(0, scale, 50).astype(np.float32)
    codes, slope = encode(array)
    decoded = decode(codes, slope)
    assert np.abs(decoded - array).max() <= np.abs(array).max() / 32766
    again, same_slope = encode(decoded)
    np.testing.assert_array_equal(decode(again, same_slope), decoded)


@pytest.mark.parametrize("values", [[0, 1], [-1024, 3071], [-32767, 32767], [0, 0]])
def test_integers_and_masks_are_kept_exactly(values):
    array = np.linspace(*values, 64).round().astype(np.float32)
    np.testing.assert_array_equal(decode(*encode(array)), array)


def test_voxels_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="prepared voxels must be finite, got inf"):
        encode(np.array([0, np.inf], np.float32))


@pytest.mark.parametrize("keep", [0, 100, 348, 500, -1])
def test_a_file_cut_short_is_refused(tmp_path, keep):
    path = tmp_path / "scan.nii"
    write_entry(path, *encode(np.ones((1, 4, 4, 4), np.float32)), np.eye(4), RECORD)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="not a whole entry of the store"):
        read_entry(path)


def test_someone_elses_nifti_is_refused(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.int16), np.eye(4)), tmp_path / "scan.nii")
    with pytest.raises(ValueError, match="not a whole entry of the store"):
        read_entry(tmp_path / "scan.nii")
