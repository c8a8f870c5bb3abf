"""Do 95 % intervals hold the truth in 95 % of studies? Simulated studies of known AUROC."""

import numpy as np
import pytest
from scipy.stats import norm

from pipeline.evaluation.intervals import effective_count, logit_interval, wilson_interval
from pipeline.evaluation.obuchowski import clustered_auroc

STUDIES = 1500
WITHIN_99_PERCENT = (0.93, 0.97)
"""Of 1,500 studies at 95 %, 93.5 % to 96.4 % hold the truth in 99 of 100 times; half a point is left to the method."""


def study(rng: np.random.Generator, auroc: float, patients: int, scans: int):
    """Binormal scores; half of the spread within a class is between patients, half between scans of one."""
    labels = np.repeat(np.arange(patients) % 2, scans)
    ids = np.repeat(np.arange(patients), scans)
    shared, own = rng.normal(size=patients)[ids], rng.normal(size=len(ids))
    return labels == 1, (shared + own) / np.sqrt(2) + labels * np.sqrt(2) * norm.ppf(auroc), ids


def auroc_coverage(auroc: float, *, by_patient: bool) -> float:
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(STUDIES):
        is_positive, scores, ids = study(rng, auroc, patients=100, scans=3)
        clusters = ids if by_patient else np.arange(len(ids))
        value, covariance = clustered_auroc(is_positive, scores[:, None], clusters, ids * 0)
        low, high = logit_interval(float(value[0]), float(covariance[0, 0]), 0.95)
        held += low <= auroc <= high
    return held / STUDIES


@pytest.mark.slow
@pytest.mark.parametrize("auroc", [0.7, 0.9])
def test_clustered_auroc_intervals_hold_the_truth_as_often_as_they_say(auroc):
    low, high = WITHIN_99_PERCENT
    assert low <= auroc_coverage(auroc, by_patient=True) <= high


@pytest.mark.slow
def test_taking_scans_for_patients_would_not():
    assert auroc_coverage(0.7, by_patient=False) < 0.9


def test_clustered_shares_hold_the_truth_and_plain_wilson_does_not():
    """Sensitivity of .8 over 60 patients with four scans each, whose chances vary from patient to patient."""
    rng = np.random.default_rng(3)
    held = {"clustered": 0, "plain": 0}
    for _ in range(1000):
        chances = rng.beta(1.6, 0.4, size=60)
        hits, ids = (rng.random((60, 4)) < chances[:, None]).astype(float).ravel(), np.repeat(np.arange(60), 4)
        for name, count in (("clustered", effective_count(hits, ids)), ("plain", 240.0)):
            low, high = wilson_interval(hits.mean(), count, 0.95)
            held[name] += low <= 0.8 <= high
    assert 0.925 <= held["clustered"] / 1000 <= 0.975
    assert held["plain"] / 1000 < 0.85
