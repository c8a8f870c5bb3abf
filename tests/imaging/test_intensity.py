import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipeline.config import Rescale, Suv, Unchanged, Window, ZScore
from pipeline.data.dataset import ScanDataset
from pipeline.imaging.intensity import LEVELS, correct_bias, fit_standards, scale_intensity, to_standards
from pipeline.imaging.preprocessing import preprocess_scan
from pipeline.store.store import Store
from pipeline.training.fold_data import fit_intensity
from tests.imaging.scan_making import make_plan

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


WITHOUT = """
import sys
sys.modules["SimpleITK"] = None
from pipeline.imaging.intensity import require_n4
require_n4()
"""


@pytest.fixture(scope="module")
def shaded() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A ball of one tissue under a gain that doubles along the second axis, its body, and the corrected scan."""
    place = np.indices((36, 40, 32)) - np.array([18, 20, 16]).reshape(3, 1, 1, 1)
    body = (place**2).sum(0) < 14**2
    noise = np.random.default_rng(0).normal(0, 8, body.shape)
    scan = (body * (500 + noise) * np.exp2(place[1] / 28) + np.abs(noise)).astype(np.float32)
    return scan, body, correct_bias(scan)


def test_one_tissue_becomes_even(shaded):
    scan, body, corrected = shaded
    inner = body & (np.abs(np.indices(body.shape)[1] - 20) < 12)

    def unevenness(array: np.ndarray) -> float:
        return float(array[inner].std() / array[inner].mean())

    assert unevenness(corrected) < 0.35 * unevenness(scan)
    assert corrected.shape == scan.shape and corrected.dtype == np.float32


def test_the_same_scan_gives_the_same_bits(shaded):
    np.testing.assert_array_equal(correct_bias(shaded[0]), shaded[2])


def test_preprocessing_corrects_only_where_the_plan_asks(shaded, tmp_path):
    import nibabel as nib

    nib.save(nib.Nifti1Image(shaded[0], np.eye(4)), tmp_path / "scan.nii")
    common = {"orientation": "RAS", "spacing_mm": (1, 1, 1), "size_voxels": (36, 40, 32)}
    plain = preprocess_scan(tmp_path / "scan.nii", make_plan(**common)).array[0]
    even = preprocess_scan(tmp_path / "scan.nii", make_plan(**common, bias_correction="n4")).array[0]
    np.testing.assert_allclose(plain, shaded[0], atol=0.1)
    np.testing.assert_allclose(even, shaded[2], atol=0.1)


def test_a_missing_library_is_said_with_what_to_do():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert "bias_correction: n4 needs SimpleITK" in done.stderr and "pip install simpleitk" in done.stderr


HASHES = {"source_sha256": "a", "plan_sha256": "b", "code_sha256": "c"}


def scan(power: float, num_channels: int = 1) -> np.ndarray:
    """A body from 0 to 1 whose tones bend with `power`, in empty space."""
    tones = np.random.default_rng(0).permutation(np.linspace(0.001, 1, 600)) ** power
    image = np.zeros((10, 10, 12), np.float32)
    image[2:8] = tones[:720].reshape(-1)[:600].repeat(2)[: 6 * 120].reshape(6, 10, 12)
    return np.stack([image] * num_channels)


def body_deciles(volume: np.ndarray) -> np.ndarray:
    return np.percentile(volume[volume > 0], LEVELS)


def test_standards_are_the_mean_deciles_of_the_bodies():
    (standard,) = fit_standards([scan(0.5), scan(2.0)], num_images=1)
    np.testing.assert_allclose(standard, (body_deciles(scan(0.5)) + body_deciles(scan(2.0))) / 2, rtol=1e-6)


def test_every_scan_gets_the_standards_deciles_and_keeps_its_order_and_its_empty_space():
    standards = fit_standards([scan(0.5), scan(2.0)], num_images=1)
    for power in (0.4, 1.0, 3.0):
        before = scan(power)
        after = before.copy()
        to_standards(after, standards)
        np.testing.assert_allclose(body_deciles(after), standards[0], atol=0.005)
        assert (after[before == 0] == 0).all() and after.max() == pytest.approx(1)
        assert (np.diff(after[before > 0][np.argsort(before[before > 0])]) >= 0).all()


def test_missing_images_do_not_count_and_channels_after_the_images_stay():
    lacking = scan(2.0, num_channels=4)
    lacking[1], lacking[3] = 0, 0.5
    standards = fit_standards([lacking, scan(0.5, num_channels=4)], num_images=2)
    np.testing.assert_allclose(standards[1], body_deciles(scan(0.5)), rtol=1e-6)
    after = lacking.copy()
    to_standards(after, standards)
    np.testing.assert_array_equal(after[1:], lacking[1:])


def test_only_training_scans_are_learned_from_and_all_are_loaded_by_what_was_learned(tmp_path):
    store = Store(tmp_path)
    for name, power in (("a", 0.5), ("b", 2.0), ("c", 4.0)):
        store.write(name, scan(power), np.eye(4), **HASHES)
    plan = make_plan(intensity={"scheme": "histogram"})
    learned = fit_intensity(plan, store, pd.Series(["a", "b"]))
    assert learned.standards == fit_standards([store.read("a")[0], store.read("b")[0]], num_images=1)
    dataset = ScanDataset(store, pd.DataFrame({"scan_id": ["c"], "label": [0]}), standards=learned.standards)
    expected, _ = store.read("c")
    to_standards(expected, learned.standards)
    np.testing.assert_array_equal(dataset.__getitems__([(0, 0)])["image"][0].numpy(), expected)


def test_schemes_that_learn_nothing_leave_the_plan_as_it_is(tmp_path):
    plan = make_plan(intensity={"scheme": "zscore"})
    assert fit_intensity(plan, Store(tmp_path), pd.Series(["a"])) is plan
