import numpy as np
import pytest
from scipy.special import logit
from scipy.stats import binomtest
from scipy.stats import t as student
from statsmodels.stats.proportion import proportion_confint

from pipeline.evaluation.uncertainty.intervals import (
    bootstrap_interval,
    logit_interval,
    separated_auroc_interval,
    skewed_mean_interval,
    wilson_interval,
)


@pytest.mark.parametrize(("hits", "count"), [(0, 12), (3, 40), (40, 40), (17, 33)])
def test_wilson_matches_statsmodels_and_scipy(hits, count):
    found = wilson_interval(hits / count, count, 0.95)
    assert found == pytest.approx(proportion_confint(hits, count, method="wilson"), abs=1e-12)
    assert found == pytest.approx(tuple(binomtest(hits, count).proportion_ci(method="wilson")), abs=1e-12)


def test_logit_interval_worked_by_hand():
    # logit(.9) = ln 9; the standard error there is .03 / .09 = 1/3; 1.959964 / 3 = .653321.
    low, high = logit_interval(0.9, 0.03**2, 0.95)
    assert low == pytest.approx(1 / (1 + np.exp(0.653321) / 9), abs=1e-6)
    assert high == pytest.approx(1 / (1 + np.exp(-0.653321) / 9), abs=1e-6)


def test_perfect_separation_gets_a_lower_bound_that_rises_with_the_patients():
    few, many = (separated_auroc_interval(1.0, count, count, 0.95) for count in (10, 100))
    assert few[1] == many[1] == 1
    assert 0.6 < few[0] < many[0] < 1
    assert separated_auroc_interval(0.0, 10, 10, 0.95) == pytest.approx((0, 1 - few[0]))


def test_resamples_are_judged_on_the_logit_scale_by_hand():
    """At .5 the slope of the logit is 4; the resamples .4 and .6 have no bias and a deviation of .1 times root 2."""
    low, high = bootstrap_interval(0.5, np.array([0.4, 0.6]), (0, 1), 10, 0.95)
    reach = 2.262157 * 4 * 0.1 * 2**0.5
    assert logit([low, high]) == pytest.approx([-reach, reach], abs=1e-5)


def test_what_resampling_adds_to_a_value_is_taken_off_again():
    values = np.array([0.8, 1.4, 1.1]) + 0.5
    low, high = bootstrap_interval(1.0, values, (-np.inf, np.inf), 30, 0.95)
    reach = student.ppf(0.975, 29) * values.std(ddof=1)
    assert (low, high) == pytest.approx((0.4 - reach, 0.4 + reach))
    # The interval holds the value, however large the bias.
    assert bootstrap_interval(1.0, values + 9, (-np.inf, np.inf), 30, 0.95)[1] == 1


def test_a_correlation_is_judged_on_fisher_s_scale_and_a_positive_figure_on_the_logarithm_s():
    values, freedom = np.array([-0.2, 0.1, 0.5, 0.6]), student.ppf(0.975, 29)
    found = bootstrap_interval(0.3, values, (-1, 1), 30, 0.95)
    reach = freedom * values.std(ddof=1) / (1 - 0.3**2)
    center = 2 * np.arctanh(0.3) - np.arctanh(values).mean()
    assert found == pytest.approx(tuple(np.tanh(center + np.array([-reach, reach]))))
    found = bootstrap_interval(0.3, np.exp(values), (0, np.inf), 30, 0.95)
    reach = freedom * np.exp(values).std(ddof=1) / 0.3
    center = 2 * np.log(0.3) - values.mean()
    # The bias is large here, so that the interval ends at the value.
    assert found == pytest.approx((np.exp(center - reach), max(np.exp(center + reach), 0.3)))


def test_resamples_on_a_bound_count_as_half_of_the_next_nearest_in_the_bias():
    touching, half = np.array([0.7, 0.8, 0.9, 1.0]), np.array([0.7, 0.8, 0.9, 0.95])
    sizes = [np.diff(logit(bootstrap_interval(0.85, values, (0, 1), 30, 0.95)))[0] for values in (touching, half)]
    assert sizes[0] / sizes[1] == pytest.approx(touching.std() / half.std())
    assert bootstrap_interval(1.0, touching, (0, 1), 30, 0.95)[1] < 1


def test_a_mean_of_symmetric_values_has_student_s_interval():
    values = np.concatenate([np.arange(-5, 6)] * 3).astype(float)
    low, high = skewed_mean_interval(2.0, values / len(values), 0.95)
    reach = student.ppf(0.975, 32) * values.std(ddof=1) / np.sqrt(33)
    assert (low, high) == pytest.approx((2 - reach, 2 + reach))


def test_a_mean_of_skewed_values_reaches_further_up_and_covers_where_student_s_does_not():
    rng = np.random.default_rng(0)
    misses = {"hall": np.zeros(2), "student": np.zeros(2)}
    for _ in range(2000):
        values = rng.exponential(size=40)
        found = skewed_mean_interval(values.mean(), (values - values.mean()) / 40, 0.95)
        reach = student.ppf(0.975, 39) * values.std(ddof=1) / np.sqrt(40)
        for name, (low, high) in (("hall", found), ("student", (values.mean() - reach, values.mean() + reach))):
            misses[name] += [high < 1, low > 1]
    assert misses["hall"].sum() < misses["student"].sum() and misses["hall"][0] < 0.75 * misses["student"][0]
    assert isinstance(skewed_mean_interval(0.5, np.zeros(20), 0.95), str)


def test_a_figure_that_resampling_often_undoes_has_no_interval():
    values = np.where(np.arange(100) < 10, np.nan, np.linspace(0.2, 0.9, 100))
    assert "undefined in 10% of the resamples" in bootstrap_interval(0.5, values, (0, 1), 30, 0.95)


def test_resamples_that_all_agree_give_no_interval():
    assert "all resamples agree" in bootstrap_interval(1.0, np.ones(100), (0, 1), 30, 0.95)
