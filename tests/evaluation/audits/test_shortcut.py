import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.evaluation.audits.shortcut import audit_shortcut, aurocs_within


def made(
    seed: int = 0, patients: int = 150, known: float = 0.0, used: float = 0.0, masked: float = 0.0
) -> pd.DataFrame:
    """`known` says how far acquisition follows the label, `used` how far the logit follows acquisition beyond it."""
    rng = np.random.default_rng(seed)
    is_positive = rng.random(patients) < 0.4
    part = rng.integers(-1, 4, patients)
    acquisition = known * is_positive + rng.normal(size=patients).round(1)
    return pd.DataFrame(
        {
            "is_positive": is_positive,
            "part": part,
            "acquisition": acquisition,
            "file_size": np.nan,
            "logit": 1.5 * is_positive + rng.normal(size=patients) + used * acquisition,
            "masked": np.where(part < 2, masked * is_positive + rng.normal(size=patients), np.nan),
        }
    )


def test_a_model_that_follows_acquisition_uses_the_shortcut():
    found = audit_shortcut(made(known=2.0, used=1.5), {})
    assert found.verdict == "shortcut used" and found.is_alarm
    assert found.metrics["fall"]["auroc_within"] < found.metrics["fall"]["auroc"]
    assert "among patients whose scans were made alike" in found.summary


def test_acquisition_that_tells_the_label_makes_a_shortcut_possible_until_the_model_follows_it():
    found = audit_shortcut(made(known=2.0), {})
    assert found.verdict == "shortcut possible"
    assert found.metrics["available"]["adjusted_p_value"] < 0.025 <= found.metrics["followed"]["adjusted_p_value"]
    assert "nor is it excluded" in found.summary


def test_following_acquisition_that_tells_nothing_is_possible_and_never_used():
    assert audit_shortcut(made(used=1.5), {}).verdict == "shortcut possible"


def test_a_label_told_without_the_body_is_a_shortcut_used_whatever_acquisition_says():
    table = made(masked=2.0).assign(acquisition=np.nan)
    found = audit_shortcut(table, {})
    assert found.verdict == "shortcut used"
    assert found.metrics["available"] == {
        "value": None,
        "p_value": None,
        "adjusted_p_value": None,
        "num_patients": 0,
        "reason": "no column says how the scans were made",
    }


def test_the_size_of_files_is_shown_and_never_counted():
    table = made()
    found = audit_shortcut(table.assign(file_size=table["is_positive"].astype(float)), {})
    assert found.metrics["file_size"]["value"] == 1 and found.verdict == "none found"
    assert found.metrics["file_size"]["adjusted_p_value"] is None


def test_two_hundred_clean_cohorts_raise_an_alarm_in_at_most_five_percent():
    alarms = [audit_shortcut(made(seed, patients=100), {}, num_shuffles=199, seed=seed).is_alarm for seed in range(200)]
    assert sum(alarms) <= 10


def test_following_within_a_class_ignores_what_both_share_with_the_label():
    """Logit and acquisition agree about the label alone: among 100 such cohorts the second part stays quiet."""
    cohorts = (made(seed, patients=100, known=2.0) for seed in range(100))
    found = [audit_shortcut(table, {}, num_shuffles=99).metrics["followed"]["p_value"] for table in cohorts]
    assert 0 < np.mean(np.array(found) < 0.05) <= 0.1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"acquisition": 1.0}, "all scans were made alike"),
        ({"logit": np.nan}, "no predictions"),
        ({"masked": 0.0}, "without the body every prediction is the same"),
        ({"masked": np.nan}, "no empty space"),
    ],
)
def test_what_cannot_be_judged_says_why(change, reason):
    figures = audit_shortcut(made().assign(**change), {}).metrics
    assert any(reason in (part["reason"] or "") for name, part in figures.items() if name != "fall")


def test_with_few_patients_of_a_class_nothing_is_judged():
    found = audit_shortcut(made(patients=12), {})
    assert found.is_alarm is None and "this takes 10" in found.reason


def test_the_auroc_within_kinds_is_the_mean_of_theirs_weighted_by_pairs():
    rng = np.random.default_rng(2)
    labels, logits = rng.random(80) < 0.5, rng.integers(9, size=80).astype(float)
    parts, kinds = rng.integers(2, size=80), rng.integers(3, size=(80, 4))
    for column, found in enumerate(aurocs_within(labels, logits, parts, kinds)):
        groups = pd.DataFrame({"y": labels, "s": logits}).groupby([parts, kinds[:, column]])
        pairs = groups["y"].agg(lambda y: y.sum() * (~y).sum())
        aurocs = groups.apply(lambda group: roc_auc_score(group["y"], group["s"]))
        assert found == pytest.approx((pairs * aurocs).sum() / pairs.sum())
