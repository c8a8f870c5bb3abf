"""Do 95 % intervals hold the truth in 95 % of studies whose class counts are random, as a cohort's are?

A cheap form of `benchmarks/coverage.py`, whose table is in docs/evaluation.md.
"""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.coverage import Cell, draw_samples, estimates, judge, run_cell, settings_of, true_values
from pipeline.evaluation.uncertainty.intervals import wilson_interval
from pipeline.evaluation.uncertainty.shares import estimate_share

STUDIES = 150
ONE_SCAN = Cell("two classes", 100, 0.3, 0.6)
MANY_SCANS = Cell("two classes", 100, 0.3, 0.8, many_scans=True)
PREVALENCE_MATTERS = {
    "brier_score",
    "log_loss",
    "calibration_intercept",
    "calibration_slope",
    "average_precision",
    "f1",
}
OTHERS = {
    *("auroc", "accuracy", "net benefit at 0.2", "observed_expected_ratio", "brier_skill_score"),
    *("positive_likelihood_ratio", "negative_likelihood_ratio", "calibration curve at quantile 0.5"),
}


@pytest.mark.parametrize("cell", [ONE_SCAN, MANY_SCANS], ids=["one scan", "one to six scans"])
def test_every_interval_holds_the_truth_where_class_counts_are_random(cell):
    table = judge(run_cell(cell, range(STUDIES), seed=0)).set_index("metric")
    tested = table[table["is_tested"]]
    assert set(tested.index) >= PREVALENCE_MATTERS | OTHERS
    # 150 studies blur a coverage of 93 % by 2 %, and 20 intervals are tested at once.
    assert tested.loc[tested["coverage"] < 0.93 - 0.06, "coverage"].to_dict() == {}
    assert tested["coverage"].mean() == pytest.approx(0.95, abs=0.02)


def test_taking_scans_for_patients_would_not_hold_the_truth():
    truth, held = true_values(MANY_SCANS), []
    for number in range(50):
        (sample,) = draw_samples(MANY_SCANS, MANY_SCANS.patients, np.random.default_rng(number))
        alone = replace(sample, patients=np.arange(len(sample.labels)))
        found = estimates(alone, settings_of(MANY_SCANS))
        held += [found[name].low <= truth[name] <= found[name].high for name in PREVALENCE_MATTERS]
    assert np.mean(held) < 0.85


def test_clustered_shares_hold_the_truth_and_plain_wilson_does_not():
    """Sensitivity of .8 over 60 patients with four scans each, whose chances vary from patient to patient."""
    rng = np.random.default_rng(3)
    held = {"clustered": 0, "plain": 0}
    for _ in range(1000):
        chances = rng.beta(1.6, 0.4, size=60)
        hits, ids = (rng.random((60, 4)) < chances[:, None]).ravel(), np.repeat(np.arange(60), 4)
        share = estimate_share(hits, np.ones(240, dtype=bool), ids, 0.95)
        for name, (low, high) in (
            ("clustered", (share.low, share.high)),
            ("plain", wilson_interval(share.value, 240.0, 0.95)),
        ):
            held[name] += low <= 0.8 <= high
    assert 0.93 <= held["clustered"] / 1000 <= 0.975
    assert held["plain"] / 1000 < 0.85
