import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.contingency_tables import mcnemar

from pipeline.evaluation.precision.mcnemar import clustered_mcnemar


@pytest.mark.parametrize("seed", range(4))
def test_one_scan_a_patient_is_the_exact_test_of_statsmodels(seed):
    rng = np.random.default_rng(seed)
    first, second = rng.random(70) < 0.8, rng.random(70) < 0.65
    table = [[(first & second).sum(), (first & ~second).sum()], [(~first & second).sum(), (~first & ~second).sum()]]
    expected = mcnemar(table, exact=True).pvalue
    assert clustered_mcnemar(first, second, np.arange(70)) == pytest.approx(expected)


def test_a_patients_scans_count_once_where_they_agree():
    """Ten patients with five scans each, all called right by one model only: ten coins, not fifty."""
    first = np.repeat(np.arange(10) < 9, 5)
    found = clustered_mcnemar(first, ~first, np.repeat(np.arange(10), 5))
    assert found == pytest.approx(binomtest(9, 10).pvalue)


def test_models_that_agree_do_not_differ():
    right = np.array([True, False, True])
    assert clustered_mcnemar(right, right, np.arange(3)) == 1


def test_equal_models_alarm_in_five_percent_and_counting_scans_would_alarm_more_often():
    rng = np.random.default_rng(1)
    patients, alarms = np.repeat(np.arange(60), 4), {"patients": 0, "scans": 0}
    for _ in range(400):
        easy = rng.random((2, 60)) < 0.7
        first, second = (np.repeat(row, 4) ^ (rng.random(240) < 0.05) for row in easy)
        alarms["patients"] += clustered_mcnemar(first, second, patients) < 0.05
        alarms["scans"] += clustered_mcnemar(first, second, np.arange(240)) < 0.05
    assert alarms["patients"] / 400 <= 0.08
    assert alarms["scans"] / 400 > 0.2
