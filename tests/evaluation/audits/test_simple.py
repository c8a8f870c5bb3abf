import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from pipeline.evaluation.audits.finding import Finding
from pipeline.evaluation.audits.simple import chance_p_value, image_floors, judge_simple
from pipeline.evaluation.floors import compare_with_floor
from pipeline.evaluation.tables.sample import Sample


def sample_of(labels: np.ndarray, score: np.ndarray) -> Sample:
    prob = 1 / (1 + np.exp(-score))
    rows = np.arange(len(labels))
    return Sample(labels.astype(int), np.stack([1 - prob, prob], 1), rows, rows * 0, ("well", "ill"))


def judge(model: float, blurred: float, seed: int = 0, patients: int = 160) -> Finding:
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
    return judge_simple(image_floors(sample, ids[is_test], splits, summaries, 0.95), 0.95)


def test_a_model_no_better_than_a_blurred_volume_is_an_alarm():
    found = judge(model=1.0, blurred=1.0)
    assert found.is_alarm and "blurred volume" in found.words


def test_a_model_that_sees_more_than_a_blurred_volume_beats_it():
    assert judge(model=5.0, blurred=0.8).verdict == "beats simple predictors"


def test_a_blurred_volume_that_tells_nothing_fails():
    found = judge(model=2.0, blurred=0.0)
    assert found.verdict == "simple predictors fail" and not found.is_alarm


def test_two_hundred_clean_cohorts_raise_an_alarm_in_at_most_five_percent():
    """Scores of four predictors that tell nothing, beside a model that does."""

    def is_alarm(seed: int) -> bool | None:
        rng = np.random.default_rng(seed)
        labels = rng.permutation(np.arange(60) % 3 == 0)
        sample = sample_of(labels, labels + rng.normal(size=60))
        floors = [compare_with_floor(sample, rng.normal(size=60), f"floor{k}", "", 0.95) for k in range(4)]
        return judge_simple(floors, 0.95).is_alarm

    assert sum(is_alarm(seed) for seed in range(200)) <= 10


def test_the_p_value_is_that_of_the_interval():
    """Where a one-sided 97.5 % bound touches chance, p is 2.5 %."""
    rng = np.random.default_rng(4)
    labels = np.arange(50) % 2 == 0
    floor = compare_with_floor(sample_of(labels, rng.normal(size=50)), labels + rng.normal(size=50), "f", "", 0.95)
    error = (np.log(floor.high / (1 - floor.high)) - np.log(floor.low / (1 - floor.low))) / 2 / norm.ppf(0.975)
    assert chance_p_value(floor, 0.95) == pytest.approx(norm.sf(np.log(floor.auroc / (1 - floor.auroc)) / error))


def test_without_enough_patients_the_reason_is_given():
    assert "under 10 patients of a class" in judge(model=1.0, blurred=1.0, patients=30).reason


def test_the_advantage_is_the_difference_of_the_aurocs():
    rng = np.random.default_rng(5)
    labels, score = np.arange(40) % 2 == 0, rng.normal(size=40)
    sample = sample_of(labels, labels + rng.normal(size=40))
    floor = compare_with_floor(sample, score, "f", "", 0.95)
    expected = roc_auc_score(labels, sample.probs[:, 1]) - roc_auc_score(labels, score)
    assert floor.advantage == pytest.approx(expected)
