import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar

from pipeline.evaluation.uncertainty.auc_variance import clustered_auroc, clustered_mcnemar


def delong_by_definition(is_positive, scores):
    """DeLong's covariance written out over all pairs, without ranks."""
    pairs = [(column[is_positive][:, None], column[~is_positive]) for column in scores.T]
    kernel = [(positive > negative) + 0.5 * (positive == negative) for positive, negative in pairs]
    of_positives, of_negatives = np.array([k.mean(1) for k in kernel]), np.array([k.mean(0) for k in kernel])
    return np.cov(of_positives) / of_positives.shape[1] + np.cov(of_negatives) / of_negatives.shape[1]


def obuchowski_by_definition(is_positive, score, patients):
    """Equations of the paper, patient by patient."""
    positives, negatives = score[is_positive], score[~is_positive]
    auroc = roc_auc_score(is_positive, score)
    num_pos, num_neg, num_patients = len(positives), len(negatives), len(np.unique(patients))
    s10 = s01 = s11 = 0.0
    for patient in np.unique(patients):
        mine = patients == patient
        v10 = sum(np.mean((x > negatives) + 0.5 * (x == negatives)) - auroc for x in score[mine & is_positive])
        v01 = sum(np.mean((positives > y) + 0.5 * (positives == y)) - auroc for y in score[mine & ~is_positive])
        s10, s01, s11 = s10 + v10**2, s01 + v01**2, s11 + v10 * v01
    i10, i01 = (len(np.unique(patients[rows])) for rows in (is_positive, ~is_positive))
    s10 *= i10 / ((i10 - 1) * num_pos)
    s01 *= i01 / ((i01 - 1) * num_neg)
    s11 *= num_patients / (num_patients - 1)
    return s10 / num_pos + s01 / num_neg + 2 * s11 / (num_pos * num_neg)


def data(seed=0, rows=60):
    rng = np.random.default_rng(seed)
    is_positive = rng.random(rows) < 0.4
    scores = np.round(rng.normal(size=(rows, 2)) + is_positive[:, None], 1)
    return is_positive, scores, rng.integers(25, size=rows)


def test_one_scan_a_patient_is_delong():
    is_positive, scores, _ = data()
    rows = np.arange(len(is_positive))
    aurocs, covariance = clustered_auroc(is_positive, scores, rows, rows * 0)
    assert aurocs == pytest.approx([roc_auc_score(is_positive, column) for column in scores.T])
    assert covariance == pytest.approx(delong_by_definition(is_positive, scores))


@pytest.mark.parametrize("seed", range(3))
def test_clustered_variance_follows_the_paper(seed):
    is_positive, scores, patients = data(seed)
    _, covariance = clustered_auroc(is_positive, scores, patients, patients * 0)
    for k in range(2):
        assert covariance[k, k] == pytest.approx(obuchowski_by_definition(is_positive, scores[:, k], patients))


def test_the_variance_of_a_difference_is_that_of_a_score_against_itself():
    is_positive, scores, patients = data()
    _, covariance = clustered_auroc(is_positive, scores[:, [0, 0]], patients, patients * 0)
    assert covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1] == pytest.approx(0, abs=1e-15)


def test_every_scan_twice_changes_neither_value_nor_variance():
    is_positive, scores, patients = data()
    once = clustered_auroc(is_positive, scores, patients, patients * 0)
    twice = clustered_auroc(*(np.repeat(part, 2, axis=0) for part in (is_positive, scores, patients, patients * 0)))
    assert twice[0] == pytest.approx(once[0])
    assert twice[1] == pytest.approx(once[1])


def test_one_class_alone_is_undefined():
    _, scores, patients = data()
    aurocs, _ = clustered_auroc(np.ones(len(scores), bool), scores, patients, patients * 0)
    assert np.isnan(aurocs).all()


def test_delongs_standard_error_of_a_published_rating_study():
    """109 CT scans rated 1 to 5 (Hanley and McNeil, Radiology 1982;143:29-36): area 0.893, DeLong's error 0.0307.

    The area is the paper's; the error is that of Stata's `roctab` for these data.
    """
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    ratings = np.concatenate([np.repeat(np.arange(1, 6), counts) for counts in (normal, abnormal)]).astype(float)
    is_positive, scans = np.arange(109) >= 58, np.arange(109)
    aurocs, covariance = clustered_auroc(is_positive, ratings[:, None], scans, scans * 0)
    assert aurocs[0] == pytest.approx(0.8932, abs=5e-5)
    assert np.sqrt(covariance[0, 0]) == pytest.approx(0.0307, abs=5e-5)


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
