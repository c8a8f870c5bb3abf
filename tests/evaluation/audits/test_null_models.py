import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.evaluation.audits.null_models import (
    audit_label_permutation,
    auroc_p_value,
    aurocs,
    p_value,
    probe_map,
    shuffled_rows,
)
from pipeline.evaluation.cv_design import patient_partitions


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


def made(seed: int = 0, patients: int = 90, leaked: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """A third is the test set; the first `leaked` patients of it are trained on as well, with other scans."""
    rng = np.random.default_rng(seed)
    number = np.concatenate([np.arange(patients), np.arange(leaked)])
    is_test = (number < patients // 3) & (np.arange(len(number)) < patients)
    splits = pd.DataFrame(
        {
            "patient_id": [f"p{index}" for index in number],
            "label": np.where(number % 3 == 0, "ill", "well"),
            "split": np.where(is_test, "test", "development"),
            "fold": np.where(is_test, "", (number % 4).astype(str)),
        }
    )
    person = rng.normal(size=(patients, 40))
    return patient_partitions(splits), person[number] + 0.3 * rng.normal(size=(len(number), 40))


def test_patients_on_both_sides_carry_shuffled_labels_to_the_test_set():
    found = audit_label_permutation(*made(leaked=15), "ill")
    assert found.verdict == "labels leak" and found.is_alarm
    assert found.metrics["mean_auroc"] > 0.55 and "Labels reach the test set" in found.summary


def test_two_hundred_clean_cohorts_raise_an_alarm_in_at_most_five_percent():
    alarms = [audit_label_permutation(*made(seed), "ill", num_shuffles=49, seed=seed).is_alarm for seed in range(200)]
    assert 0 < sum(alarms) <= 10


def test_silence_never_says_that_nothing_leaks():
    found = audit_label_permutation(*made(), "ill")
    assert not found.is_alarm and "does not prove that nothing leaks" in found.summary


def test_real_labels_that_the_embedding_tells_raise_no_alarm():
    division, embeddings = made()
    embeddings[:, 0] = 5 * (division["label"] == "ill")
    assert not audit_label_permutation(division, embeddings, "ill").is_alarm


def test_with_few_patients_or_nobody_to_fit_on_nothing_is_judged():
    assert "under 10 patients" in audit_label_permutation(*made(patients=27), "ill").reason
    division, embeddings = made()
    assert "nobody to fit on" in audit_label_permutation(division.assign(part=-1), embeddings, "ill").reason
