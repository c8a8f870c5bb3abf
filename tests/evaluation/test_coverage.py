"""Do 95 % intervals hold the truth in 95 % of studies? Simulated studies of known truth, by the intervals reported."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from pipeline.evaluation.metrics import select_metrics
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.estimates import estimate_metrics
from pipeline.evaluation.uncertainty.intervals import effective_count, wilson_interval

STUDIES, QUICK = 1000, Settings(num_bootstrap=200)
LOWEST, HIGHEST = 0.93 - 0.016, 0.97 + 0.011
"""The promise, 93 to 97 %, and what 1,000 studies blur it by in 95 of 100 times (binomial)."""
HEADLINE = (
    "auroc",
    "average_precision",
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "f1",
    "mcc",
    "kappa",
    "brier_score",
    "log_loss",
)
CALIBRATION = ("calibration_slope", "calibration_intercept")
DECISIONS = ("balanced_accuracy", "mcc", "brier_score")
"""Figures whose truth does not depend on how many patients a fold has."""


def study(rng: np.random.Generator, auroc: float, positives: int, negatives: int, num_folds: int = 1) -> Sample:
    """Binormal scores of patients with one to three scans; half of the spread is between patients, half within."""
    patients, prevalence = positives + negatives, positives / (positives + negatives)
    ids, distance = np.repeat(np.arange(patients), rng.integers(1, 4, patients)), np.sqrt(2) * norm.ppf(auroc)
    # Classes in turn over the patients, so that every fold has its share of both.
    labels = (np.floor((ids + 1) * prevalence) > np.floor(ids * prevalence)).astype(int)
    shared, own = rng.normal(size=patients)[ids], rng.normal(size=len(ids))
    scores = (shared + own) / np.sqrt(2) + distance * labels
    odds = prevalence / (1 - prevalence)
    probs = 1 / (1 + np.exp(-distance * (scores - distance / 2)) / odds)
    folds = np.arange(patients)[ids] // 2 % num_folds
    return Sample(labels, np.stack([1 - probs, probs], 1), ids, folds, ("a", "b"), threshold=prevalence)


def coverage(
    names: tuple[str, ...], auroc: float, classes: tuple[int, int], studies: int, num_folds: int = 1, *, by_patient=True
) -> dict[str, float]:
    """Share of intervals that hold the truth, which is that of a hundred thousand patients; `classes` are counts."""
    rng = np.random.default_rng(5)
    large = study(rng, auroc, *(100_000 * count // sum(classes) for count in classes))
    metrics = {name: select_metrics(large, QUICK)[name] for name in names}
    truth = {name: float(metric.fn(large.weighted())[0]) for name, metric in metrics.items()}
    held = dict.fromkeys(names, 0)
    for _ in range(studies):
        sample = study(rng, auroc, *classes, num_folds=num_folds)
        sample = sample if by_patient else replace(sample, patients=np.arange(len(sample.labels)))
        for name, found in estimate_metrics(sample, metrics, QUICK).items():
            held[name] += found.low <= truth[name] <= found.high
    return {name: count / studies for name, count in held.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("auroc", "classes"), [(0.7, (50, 50)), (0.8, (50, 150)), (0.9, (150, 50))])
def test_intervals_hold_the_truth_in_93_to_97_percent_of_studies_with_fifty_patients_a_class(auroc, classes):
    shares = coverage(HEADLINE, auroc, classes, STUDIES)
    assert {name: share for name, share in shares.items() if not LOWEST <= share <= HIGHEST} == {}


@pytest.mark.slow
def test_intervals_of_calibration_hold_the_truth_as_well():
    shares = coverage(CALIBRATION, 0.8, (50, 50), STUDIES)
    assert {name: share for name, share in shares.items() if not LOWEST <= share <= HIGHEST} == {}


@pytest.mark.slow
def test_folds_of_few_patients_do_not_narrow_intervals():
    """Twenty patients a class in five folds; drawn four at a time they would hold the truth in 89 % of studies."""
    for name, share in coverage(DECISIONS, 0.8, (20, 20), STUDIES, num_folds=5).items():
        assert LOWEST <= share <= HIGHEST, name


@pytest.mark.slow
def test_taking_scans_for_patients_would_not_hold_the_truth():
    assert np.mean(list(coverage(HEADLINE, 0.75, (50, 50), 200, by_patient=False).values())) < 0.9


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
