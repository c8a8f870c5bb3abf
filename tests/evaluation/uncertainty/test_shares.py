import numpy as np
import pytest
from scipy.special import expit, logit
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from pipeline.evaluation.uncertainty.shares import combine_shares, estimate_share, odds_ratio_interval


def share_of(hits: int, count: int, first: int = 0):
    """`hits` of `count` patients with a scan each, numbered from `first`, among 200."""
    numbers = np.arange(200)
    among = (numbers >= first) & (numbers < first + count)
    return estimate_share(among & (numbers < first + hits), among, numbers, 0.95)


@pytest.mark.parametrize(("hits", "count"), [(0, 12), (3, 40), (40, 40), (17, 33)])
def test_a_share_of_patients_has_wilson_s_interval(hits, count):
    found = share_of(hits, count)
    assert (found.low, found.high) == pytest.approx(proportion_confint(hits, count, method="wilson"), abs=1e-12)
    assert found.num_patients == count


def test_copies_of_a_scan_add_nothing_but_the_doubt_about_their_likeness():
    rng = np.random.default_rng(0)
    hits, patients = rng.random(200) < 0.7, np.arange(200)
    alone = estimate_share(hits, np.ones(200, bool), patients, 0.95)
    copied = estimate_share(np.repeat(hits, 3), np.ones(600, bool), np.repeat(patients, 3), 0.95)
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.02)
    unlike = estimate_share(rng.random(600) < 0.7, np.ones(600, bool), np.repeat(patients, 3), 0.95)
    assert unlike.high - unlike.low < 0.75 * (alone.high - alone.low)


def test_scans_that_all_agree_count_patients():
    found = estimate_share(np.ones(30, bool), np.ones(30, bool), np.repeat(np.arange(10), 3), 0.95)
    assert found.high == 1 and found.low < proportion_confint(10, 10, method="wilson")[0] + 1e-9


@pytest.mark.parametrize(("first", "second"), [((30, 40), (20, 50)), ((40, 40), (3, 50)), ((5, 20), (0, 20))])
def test_a_difference_of_shares_of_different_patients_has_newcombe_s_interval(first, second):
    found = combine_shares([share_of(*first), share_of(*second, first=100)], np.array([1.0, -1.0]))
    assert found == pytest.approx(confint_proportions_2indep(*first, *second, method="newcomb", compare="diff"))


def test_shares_of_the_same_patients_hang_together():
    """The share of a hit and that of a miss sum to one, whatever the sample; those of different patients do not."""
    patients, first = np.arange(200), np.arange(200) < 40
    hit, miss = share_of(30, 40), estimate_share(patients >= 30, first, patients, 0.95)
    low, high = combine_shares([hit, miss], np.array([1.0, 1.0]))
    of_others = combine_shares([hit, share_of(10, 40, first=100)], np.array([1.0, 1.0]))
    assert low < 1 < high and high - low < 0.3 * (of_others[1] - of_others[0])


def test_a_share_of_nothing_gives_no_interval():
    assert "no rows" in combine_shares([share_of(3, 10), share_of(0, 0)], np.array([0.5, 0.5]))
    assert "no rows" in odds_ratio_interval(0.5, share_of(3, 10), share_of(0, 0))


def test_a_predictive_value_has_the_interval_of_the_logarithm_of_a_ratio():
    """In a large sample the log of sensitivity over the false positive rate has the variance of the delta method."""
    patients = np.arange(20_000)
    sensitivity = estimate_share(patients < 8000, patients < 10_000, patients, 0.95)
    specificity = estimate_share(patients >= 13_000, patients >= 10_000, patients, 0.95)
    value = 0.8 * 0.1 / (0.8 * 0.1 + 0.3 * 0.9)
    reach = 1.96 * np.sqrt((1 - 0.8) / 8000 + (1 - 0.3) / 3000)
    found = odds_ratio_interval(value, sensitivity, specificity)
    assert found == pytest.approx((expit(logit(value) - reach), expit(logit(value) + reach)), rel=1e-3)
