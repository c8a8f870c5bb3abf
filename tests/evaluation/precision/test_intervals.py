import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.proportion import proportion_confint

from pipeline.evaluation.precision.intervals import (
    effective_count,
    logit_interval,
    percentile_interval,
    reflected_interval,
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


def test_percentiles_of_known_values():
    assert percentile_interval(np.arange(101.0), 0.9) == pytest.approx((5, 95))


def test_a_figure_that_resampling_often_undoes_has_no_interval():
    values = np.where(np.arange(100) < 10, np.nan, np.arange(100.0))
    assert "undefined in 10% of the resamples" in percentile_interval(values, 0.95)


def test_resamples_that_all_agree_give_no_interval():
    assert "all resamples agree" in percentile_interval(np.ones(100), 0.95)


def test_reflection_takes_the_resampling_bias_off():
    low, high = reflected_interval(0.05, np.linspace(0.04, 0.12, 1001), 0.9)
    assert low == 0
    assert high == pytest.approx(2 * 0.05 - 0.044)
