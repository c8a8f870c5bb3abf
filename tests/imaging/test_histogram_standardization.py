import numpy as np
import pandas as pd
import pytest

from pipeline.data.dataset import ScanDataset
from pipeline.imaging.histogram_standardization import LEVELS, fit_standards, to_standards
from pipeline.store.store import Store
from pipeline.training.fold_data import fit_intensity
from tests.imaging.scan_making import make_plan

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
