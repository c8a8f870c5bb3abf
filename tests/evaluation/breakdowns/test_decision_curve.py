import numpy as np
import pytest

from pipeline.evaluation.breakdowns.decision_curve import THRESHOLDS, decision_curve, net_benefit
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.tables.sample import Sample


def sample_with(labels, probs) -> Sample:
    rows = np.arange(len(labels))
    probs = np.asarray(probs, dtype=float)
    return Sample(np.asarray(labels), np.stack([1 - probs, probs], 1), rows, rows * 0, ("healthy", "carcinoma"))


PUBLISHED = {
    0.03: 0.278,
    0.05: 0.263,
    0.08: 0.239,
    0.10: 0.222,
    0.20: 0.125,
    0.30: 0.000,
    0.40: -0.167,
    0.50: -0.400,
    0.60: -0.750,
    0.70: -1.333,
    0.80: -2.500,
    0.90: -6.000,
}
"""Net benefit of intervening in everybody where 30 % have hepatocellular carcinoma (PMC6993280, table 4)."""


def test_acting_on_everybody_is_worth_what_was_published():
    sample = sample_with(np.repeat([1, 0], [30, 70]), np.ones(100))
    thresholds = np.array(list(PUBLISHED))
    everybody = np.ones((100, len(thresholds)))
    found = net_benefit(sample.weighted(), everybody, thresholds)[0]
    assert found == pytest.approx(list(PUBLISHED.values()), abs=0.0006)


def test_net_benefit_counts_true_positives_less_false_alarms_at_their_price(make_sample):
    sample = make_sample()
    table = decision_curve(sample, Settings(num_bootstrap=200)).set_index("threshold")
    for threshold in (0.1, 0.5, 0.8):
        called = sample.probs[:, 1] >= threshold
        hits, alarms = (called & (sample.labels == 1)).sum(), (called & (sample.labels == 0)).sum()
        expected = (hits - alarms * threshold / (1 - threshold)) / len(called)
        assert table.loc[threshold, "net_benefit"] == pytest.approx(expected)


def test_the_true_probabilities_never_do_worse_than_a_distorted_score_or_no_model():
    rng = np.random.default_rng(0)
    truth = rng.beta(1, 2, size=40_000)
    labels = (rng.random(len(truth)) < truth).astype(int)
    quick = Settings(num_bootstrap=100)
    best, worse = (decision_curve(sample_with(labels, probs), quick) for probs in (truth, truth**2.5))
    noise = 0.005
    assert (best["net_benefit"] >= worse["net_benefit"] - noise).all()
    assert (best["net_benefit"] >= np.maximum(best["act_on_everybody"], 0) - noise).all()
    assert (best["net_benefit"] > worse["net_benefit"] + noise).any()


def test_intervals_hold_the_value_and_are_missing_with_few_patients(make_sample):
    table = decision_curve(make_sample(), Settings(num_bootstrap=300))
    assert ((table["low"] <= table["net_benefit"] + 1e-9) & (table["net_benefit"] <= table["high"] + 1e-9)).all()
    few = decision_curve(sample_with([0, 1] * 9, np.linspace(0.1, 0.9, 18)), Settings())
    assert few["low"].isna().all()
    assert few["threshold"].tolist() == THRESHOLDS.tolist()
