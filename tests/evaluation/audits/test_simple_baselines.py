from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.evaluation.audits.finding import AuditFinding
from pipeline.evaluation.audits.simple_baselines import audit_simple_baselines, image_baselines, signal_p_values
from pipeline.evaluation.baselines import Baseline, compare_with_baseline, held_out_probs
from pipeline.evaluation.sample import Sample


def sample_of(labels: np.ndarray, score: np.ndarray) -> Sample:
    prob = 1 / (1 + np.exp(-score))
    rows = np.arange(len(labels))
    return Sample(labels.astype(int), np.stack([1 - prob, prob], 1), rows, rows * 0, ("well", "ill"))


def judge(model: float, blurred: float, seed: int = 0, patients: int = 160) -> AuditFinding:
    """Half of the patients are the test set; the model and five of 64 features tell the label as strongly as said."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(patients) % 2)
    ids = pd.Series([f"p{number}" for number in range(patients)])
    is_test = np.arange(patients) >= patients // 2
    splits = pd.DataFrame(
        {
            "patient_id": ids,
            "label": np.where(labels, "ill", "well"),
            "split": np.where(is_test, "test", "development"),
            "fold": np.where(is_test, "", (np.arange(patients) % 5).astype(str)),
        }
    )
    features = rng.normal(size=(patients, 64))
    features[:, :5] += blurred * labels[:, None]
    sample = sample_of(labels[is_test], model * labels[is_test] + rng.normal(size=is_test.sum()))
    summaries = {"blurred volume": pd.DataFrame(features, index=ids)}
    baselines = image_baselines(sample, ids[is_test], splits, summaries, 0.95)
    return audit_simple_baselines(baselines, signal_p_values(summaries, splits, "ill", ids[is_test]))


def test_a_model_no_better_than_a_blurred_volume_is_an_alarm():
    found = judge(model=1.0, blurred=1.0)
    assert found.is_alarm and "blurred volume" in found.summary


def test_a_model_that_sees_more_than_a_blurred_volume_beats_it():
    assert judge(model=5.0, blurred=0.8).verdict == "beats simple predictors"


def test_a_blurred_volume_that_tells_nothing_fails():
    found = judge(model=2.0, blurred=0.0)
    assert found.verdict == "simple predictors fail" and not found.is_alarm


def clean(seed: int, patients: int = 60) -> tuple[list[Baseline], dict[str, float]]:
    """A model that tells nothing on validation patients of five folds, and four numbers that do not either."""
    rng = np.random.default_rng(seed)
    labels, folds = np.arange(patients) % 2, np.arange(patients) // 2 % 5
    ids = pd.Series([f"p{number}" for number in range(patients)])
    splits = pd.DataFrame(
        {
            "patient_id": ids,
            "label": np.where(labels, "ill", "well"),
            "split": "development",
            "fold": folds.astype(str),
        }
    )
    features = pd.DataFrame(rng.normal(size=(patients, 4)), index=ids)
    sample = replace(sample_of(labels, rng.normal(size=patients)), folds=folds)
    baseline = compare_with_baseline(sample, held_out_probs(features, splits, "ill", ids), "numbers", "", 0.95)
    return [baseline], signal_p_values({"numbers": features}, splits, "ill", ids, seed, num_shuffles=199)


def test_two_hundred_clean_cohorts_raise_an_alarm_in_at_most_five_percent():
    """Regressions fitted across folds: an interval that takes their scores for given would alarm in 6 to 8 %."""
    assert sum(audit_simple_baselines(*clean(seed)).is_alarm for seed in range(200)) <= 10


def test_without_enough_patients_the_reason_is_given():
    assert "under 10 patients of a class" in judge(model=1.0, blurred=1.0, patients=30).reason


def test_the_advantage_is_the_difference_of_the_aurocs():
    rng = np.random.default_rng(5)
    labels, score = np.arange(40) % 2 == 0, rng.normal(size=40)
    sample = sample_of(labels, labels + rng.normal(size=40))
    baseline = compare_with_baseline(sample, score, "f", "", 0.95)
    expected = roc_auc_score(labels, sample.probs[:, 1]) - roc_auc_score(labels, score)
    assert baseline.advantage == pytest.approx(expected)
