import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import binomtest
from scipy.stats import t as student
from statsmodels.stats.proportion import proportion_confint

from pipeline.evaluation.uncertainty.intervals import (
    bootstrap_interval,
    effective_count,
    logit_interval,
    separated_auroc_interval,
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


def test_independent_rows_count_fully_and_copies_not_at_all():
    rng = np.random.default_rng(0)
    hits = (rng.random(200) < 0.7).astype(float)
    alone = effective_count(hits, np.arange(200))
    assert alone == 200
    copied = effective_count(np.repeat(hits, 3), np.repeat(np.arange(200), 3))
    assert copied == pytest.approx(alone, rel=0.01)


def test_agreeing_hits_count_patients():
    assert effective_count(np.ones(30), np.repeat(np.arange(10), 3)) == 10


def test_resamples_are_judged_on_the_logit_scale_by_hand():
    """Logits of 0 and 2 around one of 1: a deviation of 1.414, and Student's 2.262157 with nine degrees of freedom."""
    low, high = bootstrap_interval(expit(1), expit(np.array([0.0, 2.0])), (0, 1), 10, 0.95)
    assert logit([low, high]) == pytest.approx([1 - 2.262157 * 2**0.5, 1 + 2.262157 * 2**0.5], abs=1e-5)


def test_a_correlation_is_judged_on_fisher_s_scale_and_a_positive_figure_on_the_logarithm_s():
    values, reach = np.array([-0.2, 0.1, 0.5, 0.6]), student.ppf(0.975, 29)
    found = bootstrap_interval(0.3, values, (-1, 1), 30, 0.95)
    spread = reach * np.arctanh(values).std(ddof=1)
    assert found == pytest.approx(tuple(np.tanh(np.arctanh(0.3) + np.array([-spread, spread]))))
    found = bootstrap_interval(0.3, np.exp(values), (0, np.inf), 30, 0.95)
    spread = reach * values.std(ddof=1)
    assert found == pytest.approx((0.3 * np.exp(-spread), 0.3 * np.exp(spread)))


def test_without_bounds_the_interval_is_student_s_around_the_value():
    values = np.array([0.8, 1.4, 1.1])
    low, high = bootstrap_interval(1.0, values, (-np.inf, np.inf), 30, 0.95)
    assert (low + high) / 2 == pytest.approx(1) and high - 1 == pytest.approx(
        student.ppf(0.975, 29) * values.std(ddof=1)
    )


def test_resamples_on_a_bound_count_as_half_of_the_next_nearest():
    touching, half = np.array([0.7, 0.8, 0.9, 1.0]), np.array([0.7, 0.8, 0.9, 0.95])
    assert bootstrap_interval(0.85, touching, (0, 1), 30, 0.95) == pytest.approx(
        bootstrap_interval(0.85, half, (0, 1), 30, 0.95)
    )


def test_a_figure_that_resampling_often_undoes_has_no_interval():
    values = np.where(np.arange(100) < 10, np.nan, np.linspace(0.2, 0.9, 100))
    assert "undefined in 10% of the resamples" in bootstrap_interval(0.5, values, (0, 1), 30, 0.95)


def test_resamples_that_all_agree_give_no_interval():
    assert "all resamples agree" in bootstrap_interval(1.0, np.ones(100), (0, 1), 30, 0.95)
