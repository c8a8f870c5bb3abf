import numpy as np
import pandas as pd

from pipeline.core.columns import MASKED, UNCHANGED
from pipeline.data.augmentation.intensity import noise
from pipeline.inference.perturbations import MAX_SCANS, common_body, mask_out, perturbed_volumes, select_scans


def ball(center: float, seed: int) -> np.ndarray:
    """A bright ball in dim noise, (1, D, H, W)."""
    position = np.indices((20, 20, 20)) - np.array([center, 9.5, 9.5])[:, None, None, None]
    inside = np.linalg.norm(position, axis=0) < 5
    return (10 * inside + np.random.default_rng(seed).random((20, 20, 20))).astype(np.float32)[None]


def test_one_mask_covers_every_body_so_that_no_outline_remains():
    volumes = [ball(center, seed) for seed, center in enumerate((8.0, 9.5, 11.0))]
    body = common_body(volumes)
    for volume in volumes:
        masked = mask_out(volume, body)
        assert masked.max() < 1.01 and np.ptp(masked[0][body]) == 0
        assert (masked[:, ~body] == volume[:, ~body]).all()


def test_scans_without_empty_space_have_no_mask():
    rng = np.random.default_rng(0)
    assert common_body([rng.normal(100, 1, (1, 12, 12, 12)).astype(np.float32) for _ in range(3)]) is None


def test_a_perturbation_is_a_function_of_scan_and_name():
    volume = ball(9.5, 0)
    changes = {"noisier": noise, "noisier again": noise}
    first, second = (dict(perturbed_volumes(volume, "s1", changes, None)) for _ in range(2))
    assert set(first) == {UNCHANGED, *changes} and (first[UNCHANGED] == volume).all()
    assert (first["noisier"] == second["noisier"]).all()
    assert (first["noisier"] != first["noisier again"]).any()
    assert (first["noisier"] != dict(perturbed_volumes(volume, "s2", changes, None))["noisier"]).any()
    assert MASKED in dict(perturbed_volumes(volume, "s1", changes, common_body([volume])))


def test_scans_are_selected_one_per_patient_alternating_between_classes():
    rows = pd.DataFrame(
        {"scan_id": [f"s{k:03d}" for k in range(200)], "patient_id": [f"p{k // 2}" for k in range(200)]}
    )
    rows["label"] = np.where(np.arange(200) < 60, "ill", "well")
    chosen = select_scans({"test": rows, "val": rows.iloc[:0]})
    assert len(chosen) == MAX_SCANS and chosen["patient_id"].is_unique
    assert chosen["label"].value_counts().to_dict() == {"ill": MAX_SCANS // 2, "well": MAX_SCANS // 2}
    assert select_scans({"test": rows.iloc[:0], "val": rows.iloc[:4]})["patient_id"].tolist() == ["p0", "p1"]
