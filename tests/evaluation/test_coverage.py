"""Do 95 % intervals hold the truth in 95 % of studies? Simulated studies of known truth, by the intervals reported."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from pipeline.evaluation.precision.catalogue import catalogue
from pipeline.evaluation.precision.estimates import estimate_metrics
from pipeline.evaluation.precision.intervals import effective_count, wilson_interval
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.tables.sample import Sample

STUDIES, QUICK = 1000, Settings(num_bootstrap=300)
HEADLINE = (
    "auroc",
    "average_precision",
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "mcc",
    "brier_score",
)
DECISIONS = ("balanced_accuracy", "mcc", "brier_score")
"""Figures whose truth does not depend on how many patients a fold has."""


def study(rng: np.random.Generator, auroc: float, patients: int, scans: int = 3, num_folds: int = 1) -> Sample:
    """Binormal scores; half of the spread within a class is between patients, half between scans of one."""
    ids, distance = np.repeat(np.arange(patients), scans), np.sqrt(2) * norm.ppf(auroc)
    shared, own = rng.normal(size=patients)[ids], rng.normal(size=len(ids))
    scores = (shared + own) / np.sqrt(2) + distance * (ids % 2)
    probs = 1 / (1 + np.exp(-distance * (scores - distance / 2)))
    return Sample(ids % 2, np.stack([1 - probs, probs], 1), ids, ids // 2 % num_folds, ("a", "b"), threshold=0.5)


def coverage(
    names: tuple[str, ...], auroc: float, patients: int, studies: int, num_folds: int = 1, *, by_patient: bool = True
) -> dict[str, float]:
    """Share of intervals that hold the truth, which is that of a hundred thousand patients."""
    rng = np.random.default_rng(5)
    large = study(rng, auroc, 100_000)
    metrics = {name: catalogue(large, QUICK)[name] for name in names}
    truth = {name: float(metric.figure(large.weighted())[0]) for name, metric in metrics.items()}
    held = dict.fromkeys(names, 0)
    for _ in range(studies):
        sample = study(rng, auroc, patients, num_folds=num_folds)
        sample = sample if by_patient else replace(sample, patients=np.arange(len(sample.labels)))
        for name, found in estimate_metrics(sample, metrics, QUICK).items():
            held[name] += found.low <= truth[name] <= found.high
    return {name: count / studies for name, count in held.items()}


@pytest.mark.slow
@pytest.mark.parametrize("auroc", [0.75, 0.9])
def test_intervals_hold_the_truth_in_93_to_97_percent_of_studies_with_fifty_patients_a_class(auroc):
    """A thousand studies blur a share of 93 % by two points in 99 of 100 times."""
    for name, share in coverage(HEADLINE, auroc, 100, STUDIES).items():
        # Resamples of average precision lean upwards; its percentiles hold the truth in 92 %.
        assert (0.90 if name == "average_precision" else 0.91) <= share <= 0.985, name


@pytest.mark.slow
def test_folds_of_few_patients_do_not_narrow_intervals():
    """Twenty patients a class in five folds; drawn four at a time they would hold the truth in 89 % of studies."""
    for name, share in coverage(DECISIONS, 0.8, 40, STUDIES, num_folds=5).items():
        assert 0.92 <= share <= 0.97, name


@pytest.mark.slow
def test_taking_scans_for_patients_would_not_hold_the_truth():
    assert np.mean(list(coverage(HEADLINE, 0.75, 100, 200, by_patient=False).values())) < 0.9


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
