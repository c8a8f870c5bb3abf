"""Signatures and likeness, one property at a time."""

import numpy as np
import pytest
from scipy import ndimage

from pipeline.splits.near_duplicates.descriptors import (
    AS_IS,
    TURNS,
    Signatures,
    average_down,
    otsu_threshold,
    sample,
    signature,
)
from pipeline.splits.near_duplicates.search import common_of, fitted_likeness, most_alike, near_duplicates
from tests.splits.phantoms import AFFINE, head

ONE_PLACE = np.zeros(8, int)


def signatures_of(volumes, affines=None):
    taken = [
        signature(volume, affine) for volume, affine in zip(volumes, affines or [AFFINE] * len(volumes), strict=True)
    ]
    return Signatures(*(np.stack(part) for part in zip(*taken, strict=True)))


def test_a_signature_does_not_depend_on_how_the_file_orders_its_axes():
    volume = head(0)
    turned = np.ascontiguousarray(volume.transpose(2, 0, 1)[:, ::-1])
    affine = np.zeros((4, 4))
    affine[[2, 0, 1, 3], [0, 1, 2, 3]] = 1
    affine[0, 1], affine[0, 3] = -4, 4 * (volume.shape[0] - 1)
    affine[2, 0] = affine[1, 2] = 4
    np.testing.assert_array_equal(signature(turned, affine)[0], signature(volume, AFFINE)[0])


def test_a_signature_does_not_see_scale_offset_or_cropped_air():
    volume = head(0)
    plain = signature(volume, AFFINE)[0]
    np.testing.assert_allclose(signature(2.5 * volume + 100, AFFINE)[0], plain, atol=1e-4)
    padded = np.pad(volume, 3, constant_values=float(volume.min()))
    assert np.corrcoef(signature(padded, AFFINE)[0].ravel(), plain.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("shape", [(64, 64, 64), (65, 130, 200)])
def test_averaging_down_keeps_the_mean_of_what_it_covers(shape):
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    small = average_down(array)
    assert max(small.shape) <= 64
    blocks = [-(-size // 64) for size in shape]
    covered = array[tuple(slice(0, size // block * block) for size, block in zip(shape, blocks, strict=True))]
    assert small.mean() == pytest.approx(covered.mean(), abs=1e-5)


def test_the_threshold_parts_two_clear_classes():
    values = np.concatenate([np.full(900, 0.1), np.full(100, 0.8)])
    assert 0.1 < otsu_threshold(values) <= 0.8


def test_sampling_agrees_with_scipy():
    array = np.random.default_rng(0).normal(size=(7, 8, 9)).astype(np.float32)
    places = [np.linspace(-1, 8, 5), np.linspace(0, 7, 6), np.linspace(2.3, 9, 4)]
    expected = ndimage.map_coordinates(array, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest")
    np.testing.assert_allclose(sample(array, places), expected, atol=1e-5)


def test_the_48_turns_are_all_different_and_turn_lines_with_volumes():
    volume = np.arange(24).reshape(2, 3, 4)
    turned = {(turn.volume(volume).shape, turn.volume(volume).tobytes()) for turn in TURNS}
    assert len(turned) == 48
    marks = [np.arange(size) for size in volume.shape]
    for turn in TURNS:
        first, second, third = turn.lines(marks)
        assert tuple(map(len, (first, second, third))) == turn.volume(volume).shape
        corner = [line[0] for line in (first, second, third)]
        assert turn.volume(volume)[0, 0, 0] == volume[tuple(corner[turn.axes.index(axis)] for axis in range(3))]


def test_fitting_undoes_a_shift_of_the_frame():
    volumes = [head(person) for person in range(12)]
    cut = volumes[3][6:, :, 3:]
    signatures = signatures_of([*volumes, cut])
    common = common_of(signatures_of(volumes))
    assert fitted_likeness(signatures, common, 3, 12, AS_IS) > 0.95
    assert fitted_likeness(signatures, common, 4, 12, AS_IS) < 0.7


def test_pairs_within_a_group_are_not_reported_and_a_single_scan_has_no_pair():
    signatures = signatures_of([head(person) for person in (0, 1, 2, 3, 4, 5, 0)])
    assert near_duplicates(signatures, np.array([0, 1, 2, 3, 4, 5, 0]), ONE_PLACE[:7]) == []
    (pair,) = near_duplicates(signatures, np.arange(7), ONE_PLACE[:7])
    assert (pair.first, pair.second) == (0, 6)
    assert near_duplicates(signatures_of([head(0)]), np.arange(1), ONE_PLACE[:1]) == []


def test_many_alike_on_one_side_do_not_crowd_out_those_on_the_other():
    likeness = np.array([[0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.1]])
    together = np.array([[True, True, True, True, True, False, False, False]])
    assert list(most_alike(likeness, together)) == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert list(most_alike(likeness, ~together)) == [(0, 5), (0, 6)]


def test_an_empty_scan_is_no_duplicate_of_anything():
    volumes = [head(person) for person in range(6)] + [
        np.zeros((30, 30, 30), np.float32),
        np.full((20, 30, 40), 7, np.int16),
    ]
    assert near_duplicates(signatures_of(volumes), np.arange(8), ONE_PLACE[:8]) == []


def test_one_content_in_every_third_scan_is_no_anatomy_of_the_cohort():
    rng = np.random.default_rng(0)
    copies = [head(0) + rng.normal(0, 45, head(0).shape) for _ in range(12)]
    signatures = signatures_of([*copies, *(head(person) for person in range(1, 30))])
    pairs = near_duplicates(signatures, np.arange(41), np.arange(41) % 2)
    assert {number for pair in pairs for number in (pair.first, pair.second)} == set(range(12))
