import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from pipeline.evaluation.audits.dependence import auroc_by_kind, measure_dependence, weighted_aurocs


def study(seed: int, patients: int, shift: float) -> tuple[np.ndarray, ...]:
    """Labels, parts, logits and the site, whose two values differ by `shift` in the logit within each class."""
    rng = np.random.default_rng(seed)
    labels, parts, site = rng.random(patients) < 0.4, rng.integers(3, size=patients), rng.integers(2, size=patients)
    logits = 2.0 * labels + rng.normal(size=patients) + shift * site + 5 * parts
    return labels, parts, logits, site


def measured(seed: int, patients: int, shift: float):
    labels, parts, logits, site = study(seed, patients, shift)
    sites = np.column_stack([site, 1 - site]).astype(float)
    return measure_dependence(labels, parts, logits, sites, 199, np.random.default_rng(seed))


def test_dependence_is_the_correlation_that_a_shift_of_one_site_makes():
    """Two halves apart by d have a variance of d^2 / 4 between them and 1 within."""
    for shift in (0.5, 1.0):
        correlation = (shift / 2) / np.sqrt(1 + shift**2 / 4)
        found = measured(0, 20_000, shift)
        assert found.value == pytest.approx(correlation, abs=0.03)
        assert found.shift == pytest.approx(2 * correlation, abs=0.06) and found.p_value < 0.01


def test_the_interval_of_a_dependence_contains_the_truth_and_that_of_none_reaches_zero():
    correlation = 0.5 / np.sqrt(1 + 0.25)
    found = [measured(seed, 120, 1.0) for seed in range(100)]
    assert 90 <= sum(each.low <= correlation <= each.high for each in found)
    assert 93 <= sum(measured(seed, 120, 0.0).low == 0 for seed in range(100))


def test_p_values_of_no_dependence_are_uniform_with_and_without_what_is_given():
    p_values = {True: [], False: []}
    for seed in range(200):
        labels, parts, logits, site = study(seed, 80, 0.0)
        rng = np.random.default_rng([seed, 1])
        # Logits and sites both follow what is given, and one another through it alone.
        given = rng.normal(size=80)
        site = (given + rng.normal(size=80) > 0).astype(float)[:, None]
        followed = logits + 2 * given
        for is_given in (True, False):
            known = given[:, None] if is_given else None
            value = followed if is_given else logits
            p_values[is_given].append(measure_dependence(labels, parts, value, site, 99, rng, known).p_value)
    for found in p_values.values():
        # 200 draws at 10 % give 10 to 31 in 99 of 100 times.
        assert 8 <= np.sum(np.array(found) <= 0.1) <= 32


def test_nothing_that_varies_is_no_dependence():
    labels, parts, logits, site = study(0, 60, 1.0)
    rng = np.random.default_rng(0)
    assert measure_dependence(labels, parts, logits, np.ones((60, 2)), 9, rng) is None
    assert measure_dependence(labels, parts, np.zeros(60), site[:, None].astype(float), 9, rng) is None


def test_aurocs_within_groups_are_the_mean_of_theirs_weighted_by_pairs():
    rng = np.random.default_rng(2)
    labels, logits = rng.random(80) < 0.5, rng.integers(9, size=80).astype(float)
    groups, counts = rng.integers(4, size=80), rng.integers(3, size=(80, 5))
    for column, found in enumerate(weighted_aurocs(labels, logits, groups, counts.astype(float))):
        drawn = np.repeat(np.arange(80), counts[:, column])
        parts = pd.DataFrame({"y": labels[drawn], "s": logits[drawn]}).groupby(groups[drawn])
        pairs = parts["y"].agg(lambda y: y.sum() * (~y).sum())
        aurocs = parts.apply(lambda part: roc_auc_score(part["y"], part["s"]))
        assert found == pytest.approx((pairs * aurocs).sum() / pairs.sum())


def test_what_a_site_of_more_ill_patients_adds_to_the_auroc_is_gone_where_sites_share_prevalence():
    """Within sites the classes are 1 apart; the second site, with more of the ill, is 1 higher."""
    rng = np.random.default_rng(3)
    site = rng.integers(2, size=4000)
    labels = rng.random(4000) < np.where(site == 1, 0.7, 0.2)
    logits = labels + rng.normal(size=4000) + site
    found = auroc_by_kind(labels, logits, np.zeros(4000, dtype=int), site, rng)
    within = norm.cdf(1 / np.sqrt(2))
    # Half of the pairs are within a site, a quarter are raised by the shift, a quarter lowered.
    shared = (2 * within + norm.cdf(2 / np.sqrt(2)) + norm.cdf(0)) / 4
    assert found.auroc_within == pytest.approx(within, abs=0.02)
    assert found.auroc_shared == pytest.approx(shared, abs=0.02)
    assert found.low < found.difference < found.high and found.low > 0.02 and found.auroc > within + 0.03
