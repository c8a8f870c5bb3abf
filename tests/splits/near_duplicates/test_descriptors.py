"""Descriptors, one property at a time."""

import numpy as np
import pytest
from scipy import ndimage

from pipeline.splits.near_duplicates.descriptors import ALL_48, descriptor, downsample, otsu_threshold, sample
from tests.splits.phantoms import AFFINE, head


def test_a_descriptor_does_not_depend_on_the_axis_order_of_the_file():
    volume = head(0)
    reordered = np.ascontiguousarray(volume.transpose(2, 0, 1)[:, ::-1])
    affine = np.zeros((4, 4))
    affine[[2, 0, 1, 3], [0, 1, 2, 3]] = 1
    affine[0, 1], affine[0, 3] = -4, 4 * (volume.shape[0] - 1)
    affine[2, 0] = affine[1, 2] = 4
    np.testing.assert_array_equal(descriptor(reordered, affine)[0], descriptor(volume, AFFINE)[0])


def test_a_descriptor_does_not_depend_on_scale_offset_or_cropped_air():
    volume = head(0)
    plain = descriptor(volume, AFFINE)[0]
    np.testing.assert_allclose(descriptor(2.5 * volume + 100, AFFINE)[0], plain, atol=1e-4)
    padded = np.pad(volume, 3, constant_values=float(volume.min()))
    assert np.corrcoef(descriptor(padded, AFFINE)[0].ravel(), plain.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("shape", [(64, 64, 64), (65, 130, 200)])
def test_downsampling_keeps_the_mean(shape):
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    small = downsample(array)
    assert max(small.shape) <= 64
    blocks = [-(-size // 64) for size in shape]
    covered = array[tuple(slice(0, size // block * block) for size, block in zip(shape, blocks, strict=True))]
    assert small.mean() == pytest.approx(covered.mean(), abs=1e-5)


def test_the_threshold_separates_two_distinct_classes():
    values = np.concatenate([np.full(900, 0.1), np.full(100, 0.8)])
    assert 0.1 < otsu_threshold(values) <= 0.8


def test_sampling_agrees_with_scipy():
    array = np.random.default_rng(0).normal(size=(7, 8, 9)).astype(np.float32)
    positions = [np.linspace(-1, 8, 5), np.linspace(0, 7, 6), np.linspace(2.3, 9, 4)]
    expected = ndimage.map_coordinates(array, np.meshgrid(*positions, indexing="ij"), order=1, mode="nearest")
    np.testing.assert_allclose(sample(array, positions), expected, atol=1e-5)


def test_the_48_permutations_differ_and_permute_values_along_axes_as_they_permute_volumes():
    volume = np.arange(24).reshape(2, 3, 4)
    permuted = {(permutation.apply(volume).shape, permutation.apply(volume).tobytes()) for permutation in ALL_48}
    assert len(permuted) == 48
    indices = [np.arange(size) for size in volume.shape]
    for permutation in ALL_48:
        assert np.array_equal(permutation.inverse.apply(permutation.apply(volume)), volume)
        first, second, third = permutation.apply_to_axes(indices)
        assert tuple(map(len, (first, second, third))) == permutation.apply(volume).shape
        corner = [values[0] for values in (first, second, third)]
        voxel = tuple(corner[permutation.axes.index(axis)] for axis in range(3))
        assert permutation.apply(volume)[0, 0, 0] == volume[voxel]
