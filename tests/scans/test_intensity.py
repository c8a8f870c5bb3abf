import numpy as np
import pytest
from scipy import stats

from pipeline.config import Rescale, Suv, Unchanged, Window, ZScore
from pipeline.scans.intensity import scale_intensity

RNG = np.random.default_rng(0)
ARRAY = RNG.normal(400, 90, (20, 21, 22)).astype(np.float32)
BODY = RNG.random(ARRAY.shape) < 0.4


def test_a_window_saturates_and_maps_to_zero_and_one():
    array = np.array([-2000, -160, 40, 240, 3000], np.float32)
    scaled = scale_intensity(array, Window(scheme="window", window_hu=(-160, 240)), np.ones(5, bool))
    np.testing.assert_allclose(scaled, [0, 0, 0.5, 1, 1])


def test_a_window_in_suv_saturates_and_maps_to_zero_and_one():
    scaled = scale_intensity(np.array([-1, 0, 7.5, 15, 40], np.float32), Suv(scheme="suv"), np.ones(5, bool))
    np.testing.assert_allclose(scaled, [0, 0, 0.5, 1, 1])
    brain = Suv(scheme="suv", window_suv=(0, 3))
    np.testing.assert_allclose(scale_intensity(np.array([1.5], np.float32), brain, np.ones(1, bool)), [0.5])


def test_zscore_is_scipys_of_the_clipped_body():
    low, high = np.percentile(ARRAY[BODY], [0.5, 99.5])
    scaled = scale_intensity(ARRAY, ZScore(scheme="zscore"), BODY)
    np.testing.assert_allclose(scaled[BODY], stats.zscore(ARRAY[BODY].clip(low, high)), atol=1e-5)


def test_zscore_ignores_what_is_not_body():
    changed = np.where(BODY, ARRAY, -5000).astype(np.float32)
    scheme = ZScore(scheme="zscore")
    np.testing.assert_array_equal(
        scale_intensity(ARRAY, scheme, BODY)[BODY], scale_intensity(changed, scheme, BODY)[BODY]
    )


def test_zscore_does_not_depend_on_the_scanners_gain_and_offset():
    scheme = ZScore(scheme="zscore")
    np.testing.assert_allclose(
        scale_intensity(ARRAY, scheme, BODY), scale_intensity(ARRAY * 7 + 100, scheme, BODY), atol=1e-4
    )


def test_rescale_maps_the_bodys_percentiles_to_zero_and_one():
    scaled = scale_intensity(ARRAY, Rescale(scheme="rescale", percentiles=(10, 90)), BODY)
    low, high = np.percentile(ARRAY[BODY], [10, 90])
    np.testing.assert_allclose(scaled, ((ARRAY - low) / (high - low)).clip(0, 1), atol=1e-6)


def test_unchanged_leaves_every_voxel():
    np.testing.assert_array_equal(scale_intensity(ARRAY, Unchanged(scheme="unchanged"), BODY), ARRAY)


@pytest.mark.parametrize("scheme", [ZScore(scheme="zscore"), Rescale(scheme="rescale")])
def test_a_constant_scan_becomes_zero_not_nan(scheme):
    array = np.full((5, 5, 5), 3.0, np.float32)
    assert (scale_intensity(array, scheme, np.ones(array.shape, bool)) == 0).all()
