import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.audits.stability import audit_stability_of_changes


def made(seed: int = 0, patients: int = 40, flips: float = 0.05) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    before = rng.random(patients)
    frames = [before] + [np.where(rng.random(patients) < flips, 1 - before, before) for _ in range(3)]
    names = ("none", "mirrored", "noisier", "resampled")
    return pd.concat(
        pd.DataFrame({"scan_id": np.arange(patients), "change": name, "prob_well": 1 - probs, "prob_ill": probs})
        for name, probs in zip(names, frames, strict=True)
    )


def test_flipped_decisions_and_shifts_are_counted_at_the_threshold():
    rows = [(1, "none", 0.4), (2, "none", 0.2), (1, "noisier", 0.35), (2, "noisier", 0.5)]
    rows += [(scan, change, 0.9) for scan in range(3, 11) for change in ("none", "noisier")]
    table = pd.DataFrame(rows, columns=["scan_id", "change", "prob_ill"])
    table.insert(2, "prob_well", 1 - table["prob_ill"])
    change = audit_stability_of_changes(table, 0.3, 0.95).metrics["changes"][0]
    assert change["flipped"] == pytest.approx(0.1) and change["mean_shift"] == pytest.approx((0.05 + 0.3) / 10)
    assert audit_stability_of_changes(table, 0.6, 0.95).metrics["changes"][0]["flipped"] == 0


def test_a_model_whose_decisions_flip_is_unstable():
    found = audit_stability_of_changes(made(flips=0.4), 0.5, 0.95)
    assert found.is_alarm and found.verdict == "unstable"


def test_two_hundred_models_at_the_tolerated_share_raise_an_alarm_in_at_most_five_percent():
    assert sum(audit_stability_of_changes(made(seed, flips=0.1), 0.5, 0.95).is_alarm for seed in range(200)) <= 10


def test_the_scan_without_its_body_is_no_harmless_change():
    masked = made().query("change == 'none'").assign(change="body masked out", prob_well=1.0, prob_ill=0.0)
    found = audit_stability_of_changes(pd.concat([made(), masked]), 0.5, 0.95)
    assert not found.is_alarm and len(found.metrics["changes"]) == 3


def test_with_few_patients_nothing_is_judged():
    assert "this takes 10" in audit_stability_of_changes(made(patients=9), 0.5, 0.95).reason
