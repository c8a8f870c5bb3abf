import numpy as np
import pandas as pd

from pipeline.core.columns import MASKED, UNCHANGED
from pipeline.data.augmentation.intensity import noise
from pipeline.inference.perturbations import MOST_SCANS, choose, find_bodies, mask_out, versions


def ball(center: float, seed: int) -> np.ndarray:
    """A bright ball in dim noise, (1, D, H, W)."""
    position = np.indices((20, 20, 20)) - np.array([center, 9.5, 9.5])[:, None, None, None]
    inside = np.linalg.norm(position, axis=0) < 5
    return (10 * inside + np.random.default_rng(seed).random((20, 20, 20))).astype(np.float32)[None]


def test_one_mask_covers_every_body_so_that_no_outline_is_left():
    volumes = [ball(center, seed) for seed, center in enumerate((8.0, 9.5, 11.0))]
    body = find_bodies(volumes)
    for volume in volumes:
        masked = mask_out(volume, body)
        assert masked.max() < 1.01 and np.ptp(masked[0][body]) == 0
        assert (masked[:, ~body] == volume[:, ~body]).all()


def test_scans_without_empty_space_leave_nothing_over():
    rng = np.random.default_rng(0)
    assert find_bodies([rng.normal(100, 1, (1, 12, 12, 12)).astype(np.float32) for _ in range(3)]) is None


def test_a_change_is_a_function_of_scan_and_name():
    volume = ball(9.5, 0)
    changes = {"noisier": noise, "noisier again": noise}
    first, second = (dict(versions(volume, "s1", changes, None)) for _ in range(2))
    assert set(first) == {UNCHANGED, *changes} and (first[UNCHANGED] == volume).all()
    assert (first["noisier"] == second["noisier"]).all()
    assert (first["noisier"] != first["noisier again"]).any()
    assert (first["noisier"] != dict(versions(volume, "s2", changes, None))["noisier"]).any()
    assert MASKED in dict(versions(volume, "s1", changes, find_bodies([volume])))


def test_scans_are_chosen_one_a_patient_and_classes_in_turn():
    rows = pd.DataFrame(
        {"scan_id": [f"s{k:03d}" for k in range(200)], "patient_id": [f"p{k // 2}" for k in range(200)]}
    )
    rows["label"] = np.where(np.arange(200) < 60, "ill", "well")
    chosen = choose({"test": rows, "val": rows.iloc[:0]})
    assert len(chosen) == MOST_SCANS and chosen["patient_id"].is_unique
    assert chosen["label"].value_counts().to_dict() == {"ill": MOST_SCANS // 2, "well": MOST_SCANS // 2}
    assert choose({"test": rows.iloc[:0], "val": rows.iloc[:4]})["patient_id"].tolist() == ["p0", "p1"]
