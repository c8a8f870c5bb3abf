import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.evaluation.audits.null_models import auroc_p_value, aurocs, p_value, probe_map, shuffled_rows


def test_many_aurocs_at_once_are_scikit_learn_s_weighted_by_the_pairs_of_each_part():
    rng = np.random.default_rng(0)
    labels, scores = rng.random((60, 5)) < 0.4, rng.integers(6, size=(60, 5)).astype(float)
    parts = rng.integers(3, size=60)
    for column, found in enumerate(aurocs(labels, scores, parts)):
        pairs, wins = 0.0, 0.0
        for part in range(3):
            rows = parts == part
            positives = labels[rows, column].sum()
            own_pairs = positives * (rows.sum() - positives)
            pairs += own_pairs
            wins += own_pairs * roc_auc_score(labels[rows, column], scores[rows, column])
        assert found == pytest.approx(wins / pairs)


def test_a_part_of_one_class_adds_nothing_and_nothing_but_such_parts_is_nan():
    labels, scores = np.array([1, 0, 1, 1], dtype=bool)[:, None], np.array([2.0, 1, 0, 5])[:, None]
    assert aurocs(labels, scores, np.array([0, 0, 1, 1])) == pytest.approx(1)
    assert np.isnan(aurocs(labels, scores, np.array([0, 1, 2, 2]))).all()


def test_the_p_value_of_an_auroc_is_that_of_the_rank_sum_test():
    rng = np.random.default_rng(1)
    labels = rng.random(50) < 0.5
    scores = rng.normal(size=50) + 0.5 * labels
    expected = mannwhitneyu(scores[labels], scores[~labels], alternative="greater").pvalue
    found = auroc_p_value(labels, scores, np.zeros(50), 4999, rng)
    assert found == pytest.approx(expected, abs=4 * np.sqrt(expected / 4999))


def test_shuffling_never_leaves_a_stratum_and_moves_every_value_somewhere():
    strata = np.array([0, 1, 0, 1, 1, 0, 2])
    rows = shuffled_rows(strata, 200, np.random.default_rng(0))
    assert (strata[rows] == strata[:, None]).all()
    assert (np.sort(rows, axis=0) == np.arange(7)[:, None]).all()
    assert set(rows[0]) == {0, 2, 5}


def test_what_was_observed_counts_as_one_of_the_shuffles():
    assert p_value(3.0, np.array([1.0, 2.0, 2.5])) == 1 / 4
    assert p_value(2.0, np.array([1.0, 2.0, 2.5])) == 3 / 4


def test_a_probe_is_a_ridge_regression_on_standardized_features():
    rng = np.random.default_rng(0)
    seen, judged, labels = rng.normal(size=(30, 50)), rng.normal(3, 2, size=(9, 50)), rng.integers(2, size=30)
    ridge = make_pipeline(StandardScaler(), Ridge(alpha=50.0)).fit(seen, labels)
    assert np.allclose(probe_map(seen, judged) @ labels + labels.mean(), ridge.predict(judged))


def test_a_feature_that_does_not_vary_among_the_seen_says_nothing():
    rng = np.random.default_rng(1)
    seen, judged = rng.normal(size=(20, 4)), rng.normal(size=(5, 4))
    constant = [np.hstack([rows, np.full((len(rows), 1), value)]) for rows, value in ((seen, 7.0), (judged, -7.0))]
    assert np.allclose(probe_map(*constant), probe_map(seen, judged))
