import gzip
import itertools
import math
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import io_orientation
from nibabel.quaternions import mat2quat, quat2mat

from pipeline.imaging.io.discover import find_scans
from pipeline.imaging.io.read import read_channels, read_scan
from pipeline.imaging.problems import ScanProblem
from pipeline.imaging.validation import check_scan
from tests.imaging.nifti_bytes import NIFTI1, VOXELS, nifti
from tests.imaging.scan_making import stored_as

EXTREMES = [b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\0\0\xc0\x7f"]
"""Zero, the largest number and NaNs, as four bytes."""
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
ROTATIONS = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda numbers: np.linalg.norm(numbers) > 0.1)
SPACINGS = st.tuples(*[st.floats(0.2, 8)] * 3)
OFFSETS = st.tuples(*[st.floats(-200, 200)] * 3)


def rigid_affine(rotation, spacing_mm, offset, is_left_handed) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = quat2mat(rotation) * spacing_mm * [1, 1, -1 if is_left_handed else 1]
    affine[:3, 3] = offset
    return affine


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8"]),
    scaling=st.sampled_from([(1, 0), (0.01, 0), (1, -1024), (-3.5, 12)]),
    order=st.sampled_from("<>"),
    version=st.sampled_from([1, 2]),
    zipped=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_values_equal_nibabels(tmp_path_factory, dtype, scaling, order, version, zipped, seed):
    voxels = np.random.default_rng(seed).integers(0, 120, (5, 4, 3)).astype(dtype)
    content = nifti(voxels, order=order, version=version, scl_slope=scaling[0], scl_inter=scaling[1])
    path = tmp_path_factory.mktemp("reading") / ("a.nii.gz" if zipped else "a.nii")
    path.write_bytes(gzip.compress(content) if zipped else content)
    scan = read_scan(path)
    np.testing.assert_allclose(scan.array, nibabel.load(path).get_fdata(), rtol=1e-6, atol=1e-5)
    assert scan.array.dtype == (np.float32 if scaling != (1, 0) else np.dtype(dtype))


@settings(max_examples=60, deadline=None)
@given(ROTATIONS, SPACINGS, OFFSETS, st.booleans(), st.sampled_from(["sform", "qform", "both"]))
def test_affine_equals_nibabels_and_simpleitks(tmp_path_factory, rotation, spacing_mm, offset, is_left_handed, form):
    affine = rigid_affine(rotation, spacing_mm, offset, is_left_handed)
    image = nibabel.Nifti1Image(VOXELS, affine)
    image.set_sform(affine, 0 if form == "qform" else 1)
    image.set_qform(affine, 0 if form == "sform" else 1)
    path = tmp_path_factory.mktemp("reading") / "a.nii"
    nibabel.save(image, path)
    scan = read_scan(path)
    codes = {problem.code for problem in scan.warnings}
    assert codes <= {"NII-ANISOTROPIC"}, codes
    np.testing.assert_allclose(scan.affine, nibabel.load(path).affine, atol=1e-4)
    np.testing.assert_allclose(scan.affine, itk_affine(path), atol=2e-3)
    np.testing.assert_allclose(scan.spacing_mm, spacing_mm, rtol=1e-4)


def itk_affine(path: Path) -> np.ndarray:
    image = SimpleITK.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return RAS_TO_LPS @ affine


def test_qform_flips_the_third_axis_where_pixdim_0_is_negative(tmp_path):
    """By hand: a rotation of 180 degrees about x, quaternion (0, 1, 0, 0), is diag(1, -1, -1)."""
    fields = {"sform_code": 0, "qform_code": 1, "quatern": [1, 0, 0], "qoffset": [5, 6, 7]}
    for sign, last in ((1, -4.0), (-1, 4.0), (0, -4.0)):
        path = tmp_path / f"{sign}.nii"
        path.write_bytes(nifti(**fields, pixdim=[sign, 2, 3, 4, 0, 0, 0, 0]))
        expected = [[2, 0, 0, 5], [0, -3, 0, 6], [0, 0, last, 7], [0, 0, 0, 1]]
        np.testing.assert_allclose(read_scan(path).affine, expected, atol=1e-6)


def test_without_transform_the_affine_is_nibabels(tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(nifti(sform_code=0, qform_code=0, pixdim=[1, 2, 3, 4, 0, 0, 0, 0]))
    np.testing.assert_allclose(read_scan(path).affine, nibabel.load(path).affine)


def test_half_turn_survives_the_loss_of_the_quaternions_first_number(tmp_path):
    """w is not stored; near zero, rounding must make neither an error nor another rotation."""
    angle = math.pi - 1e-2
    rotation = quat2mat([math.cos(angle / 2), 0, math.sin(angle / 2), 0])
    path = tmp_path / "a.nii"
    path.write_bytes(nifti(sform_code=0, qform_code=1, quatern=mat2quat(rotation)[1:].tolist()))
    np.testing.assert_allclose(read_scan(path).affine[:3, :3], 2 * rotation, atol=1e-3)


def test_left_handed_scan_equals_its_flipped_twin_in_the_world(tmp_path):
    affine = rigid_affine([0.9, 0.1, -0.2, 0.3], [1, 2, 3], [4, 5, 6], is_left_handed=False)
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = VOXELS.shape[0] - 1
    nibabel.save(nibabel.Nifti1Image(VOXELS, affine), tmp_path / "right.nii")
    nibabel.save(nibabel.Nifti1Image(VOXELS[::-1], affine @ flip), tmp_path / "left.nii")
    right, left = (read_scan(tmp_path / f"{name}.nii") for name in ("right", "left"))
    assert np.linalg.det(right.affine) > 0 > np.linalg.det(left.affine)
    np.testing.assert_allclose(*(canonical(scan).affine for scan in (right, left)), atol=1e-4)
    np.testing.assert_array_equal(*(canonical(scan).get_fdata() for scan in (right, left)))


def canonical(scan) -> nibabel.Nifti1Image:
    return nibabel.as_closest_canonical(nibabel.Nifti1Image(scan.array, scan.affine))


def test_orientation_is_nibabels(tmp_path):
    for axes, signs in itertools.product(itertools.permutations(range(3)), itertools.product((-1, 1), repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = np.eye(3)[list(axes)] * signs
        path = tmp_path / "a.nii"
        nibabel.save(nibabel.Nifti1Image(VOXELS, affine), path)
        expected = "".join("LPSRAI"[int(axis) + (0 if sign < 0 else 3)] if axis < 2 else "IS"[int(sign > 0)]
                           for axis, sign in io_orientation(affine))  # fmt: skip
        assert read_scan(path).orientation == expected


def test_array_is_a_writable_view_in_the_files_memory_order(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(nifti()))
    array = read_scan(path).array
    assert array.flags.f_contiguous and array.flags.writeable and array.base is not None
    assert array.dtype.isnative


@pytest.mark.parametrize("suffixes", [(".hdr", ".img"), (".hdr.gz", ".img.gz"), (".HDR", ".IMG")])
def test_pair_is_read_from_either_half(tmp_path, suffixes):
    pair = [nifti(magic=b"ni1\0", vox_offset=16)[:348], bytes(16) + VOXELS.astype("<i2").tobytes(order="F")]
    for suffix, content in zip(suffixes, pair, strict=True):
        (tmp_path / f"a{suffix}").write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    for suffix in suffixes:
        np.testing.assert_array_equal(read_scan(tmp_path / f"a{suffix}").array, VOXELS)


def mutants(rng: np.random.Generator, num_mutants: int):
    """A valid file with bytes changed, cut, repeated or put in, most of them in the header."""
    valid = nifti(scl_slope=0.5, qform_code=1, between=b"\1\0\0\0" + bytes([16]) + bytes(15))
    interesting = [offset for offset, _ in NIFTI1.values()]
    for _ in range(num_mutants):
        content = bytearray(gzip.compress(valid, 1) if rng.random() < 0.3 else valid)
        for _ in range(rng.integers(1, 5)):
            field = rng.choice(interesting) + rng.integers(0, 4)
            at = int(field if rng.random() < 0.6 else rng.integers(len(content))) % max(1, len(content))
            kind = rng.integers(5)
            if kind <= 1:
                content[at : at + 1] = bytes([rng.integers(256)])
            elif kind == 2:
                content[at : at + 4] = rng.choice(EXTREMES)
            elif kind == 3:
                del content[at : at + int(rng.integers(1, 64))]
            else:
                content[at:at] = rng.bytes(int(rng.integers(1, 32)))
        yield bytes(content)


def assert_valid_or_refused(path: Path) -> bool:
    """True if the scan was read; anything but a sound volume or our own error fails."""
    try:
        scan = read_scan(path)
    except ScanProblem as problem:
        assert problem.code in str(problem)
        return False
    assert scan.array.ndim == 3 and min(scan.array.shape) > 1
    assert np.all(np.isfinite(scan.array.astype(np.float32)))
    assert np.all(np.isfinite(scan.affine)) and abs(np.linalg.det(scan.affine)) > 0
    return True


@pytest.mark.filterwarnings("error")
def test_mutant_ends_in_a_finite_volume_or_our_own_error(tmp_path, num_mutants=2_000):
    path = tmp_path / "mutant.nii"
    outcomes = []
    for content in mutants(np.random.default_rng(num_mutants), num_mutants):
        path.write_bytes(content)
        outcomes.append(assert_valid_or_refused(path))
    assert 0.1 < np.mean(outcomes) < 0.9, "mutants must neither all pass nor all fail"


@pytest.fixture
def real_scans() -> list[Path]:
    folder = os.environ.get("VOLUME_DATA")
    if not folder:
        pytest.skip("VOLUME_DATA names no folder of real scans")
    return [*find_scans(Path(folder) / "open_ms"), *itertools.islice(find_scans(Path(folder) / "hippocampus"), 20)]


def test_real_masks_pass(tmp_path):
    folder = os.environ.get("MEDMNIST_ROOT")
    if not folder:
        pytest.skip("MEDMNIST_ROOT names no folder of AdrenalMNIST3D")
    masks = np.load(Path(folder) / "adrenalmnist3d.npz")["train_images"][:20]
    for number, mask in enumerate(masks):
        path = tmp_path / f"{number}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), path)
        assert check_scan(path).verdict == "ok", path
        np.testing.assert_array_equal(read_scan(path).array, mask)


def test_real_scans_pass_and_equal_nibabels(real_scans):
    for path in real_scans:
        assert check_scan(path).verdict == "ok", path
        image, scan = nibabel.load(path), read_scan(path)
        np.testing.assert_array_equal(scan.array, np.asanyarray(image.dataobj))
        np.testing.assert_allclose(scan.affine, image.affine, atol=1e-5)


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
def test_channels_on_another_grid_are_rejected_by_name(write, voxels, fields):
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


def test_missing_channel_is_rejected_or_zeros(write):
    path = write("t1")
    with pytest.raises(ScanProblem, match="no file for channel 1 of 2"):
        read_channels([path, None])
    channels = read_channels([None, path], missing="zero")
    np.testing.assert_array_equal(channels.stacked(), [np.zeros_like(VOXELS), VOXELS])
    np.testing.assert_array_equal(channels.grid.affine, read_scan(path).affine)


def test_a_scan_without_any_file_is_rejected():
    with pytest.raises(ValueError, match="no channel of the scan has a file"):
        read_channels([None, None], missing="zero")
