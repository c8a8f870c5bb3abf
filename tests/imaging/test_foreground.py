import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipeline.config import Unchanged, Window, ZScore
from pipeline.imaging.foreground import find_foreground

MR = ZScore(scheme="zscore")
CT = Window(scheme="window", window_hu=(-160, 240))
VOLUME_DATA = os.environ.get("VOLUME_DATA")


def head(shape: tuple[int, ...], box: tuple[slice, ...], tissue: float, air: float, noise: float) -> np.ndarray:
    """A noisy block of tissue in noisy air."""
    array = np.full(shape, air)
    array[box] = tissue
    return (array + np.random.default_rng(0).normal(0, noise, shape)).astype(np.float32)


@pytest.mark.parametrize("size", [50, 100, 230])
def test_the_box_is_that_of_the_body_to_the_precision_promised(size):
    box = (slice(size // 5, size - 8), slice(7, size // 2), slice(size // 4, size - size // 4))
    found = find_foreground(head((size,) * 3, box, tissue=300, air=20, noise=8), MR)
    for part, true in zip(found.box, box, strict=True):
        assert abs(part.start - true.start) <= size / 64 + 1 and abs(part.stop - true.stop) <= size / 64 + 1


def test_specks_and_markers_do_not_stretch_the_box():
    array = head((60, 60, 60), (slice(20, 40),) * 3, tissue=300, air=10, noise=3)
    array[2:5, 2:5, 2:5] = 900
    assert [part.start for part in find_foreground(array, MR).box] == [20, 20, 20]


def test_in_a_ct_soft_tissue_is_body_and_padding_and_air_are_not():
    array = head((50, 50, 50), (slice(10, 40),) * 3, tissue=40, air=-1000, noise=20)
    array[:, :, :4] = -3024
    found = find_foreground(array, CT)
    assert found.box == (slice(10, 40),) * 3
    assert found.background == -3024
    assert found.mask(array).sum() == 30**3


def test_a_binary_mask_is_its_own_foreground():
    mask = np.zeros((28, 28, 28), np.uint8)
    mask[5:9, 10:12, 3:20] = 1
    found = find_foreground(mask, Unchanged(scheme="unchanged"))
    assert found.box == (slice(5, 9), slice(10, 12), slice(3, 20))
    np.testing.assert_array_equal(found.mask(mask), mask == 1)


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_a_constant_scan_is_all_body(value):
    found = find_foreground(np.full((10, 11, 12), value, np.float32), MR)
    assert found.box == (slice(0, 10), slice(0, 11), slice(0, 12)) and found.threshold is None


def test_a_mirrored_scan_has_the_mirrored_box():
    array = head((100, 90, 131), (slice(13, 60), slice(20, 71), slice(5, 99)), tissue=200, air=10, noise=5)
    for axis in range(3):
        box, mirrored = find_foreground(array, MR), find_foreground(np.flip(array, axis), MR)
        size = array.shape[axis]
        expected = slice(size - box.box[axis].stop, size - box.box[axis].start)
        assert mirrored.box[axis] == expected and mirrored.threshold == box.threshold


@pytest.mark.skipif(not VOLUME_DATA, reason="VOLUME_DATA is not set")
def test_scans_cropped_inside_the_brain_have_no_empty_space_and_whole_heads_do():
    inside = sorted(Path(VOLUME_DATA, "hippocampus", "images").glob("*.nii.gz"))[::10]
    heads = sorted(Path(VOLUME_DATA, "open_ms").rglob("*.nii.gz"))
    assert inside and heads
    assert all(find_foreground(np.asanyarray(nib.load(path).dataobj), MR).threshold is None for path in inside)
    for path in heads:
        array = np.asanyarray(nib.load(path).dataobj)
        assert 0.1 < find_foreground(array, MR).mask(array).mean() < 0.4
