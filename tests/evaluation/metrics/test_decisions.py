import numpy as np
import pytest
from sklearn import metrics as sklearn

from pipeline.evaluation.metrics import decisions
from pipeline.evaluation.sample import Sample

BINARY = {
    "accuracy": sklearn.accuracy_score,
    "balanced_accuracy": sklearn.balanced_accuracy_score,
    "sensitivity": sklearn.recall_score,
    "positive_predictive_value": sklearn.precision_score,
    "f1": sklearn.f1_score,
    "mcc": sklearn.matthews_corrcoef,
    "kappa": sklearn.cohen_kappa_score,
    "specificity": lambda labels, preds: sklearn.recall_score(labels, preds, pos_label=0),
    "negative_predictive_value": lambda labels, preds: sklearn.precision_score(labels, preds, pos_label=0),
}
SEVERAL = {
    "accuracy": sklearn.accuracy_score,
    "balanced_accuracy": sklearn.balanced_accuracy_score,
    "sensitivity": lambda labels, preds: sklearn.recall_score(labels, preds, average="macro"),
    "positive_predictive_value": lambda labels, preds: sklearn.precision_score(labels, preds, average="macro"),
    "f1": lambda labels, preds: sklearn.f1_score(labels, preds, average="macro"),
    "mcc": sklearn.matthews_corrcoef,
    "kappa": sklearn.cohen_kappa_score,
    "quadratic_kappa": lambda labels, preds: sklearn.cohen_kappa_score(labels, preds, weights="quadratic"),
}


@pytest.mark.parametrize("name", BINARY)
def test_binary_figures_match_scikit_learn(make_sample, name):
    sample = make_sample(threshold=0.4)
    preds = sample.probs[:, 1] >= 0.4
    assert getattr(decisions, name)(sample.weighted())[0] == pytest.approx(BINARY[name](sample.labels, preds))


@pytest.mark.parametrize("name", SEVERAL)
def test_figures_of_several_classes_match_scikit_learn(make_sample, name):
    sample = make_sample(num_classes=3)
    expected = SEVERAL[name](sample.labels, sample.probs.argmax(1))
    assert getattr(decisions, name)(sample.weighted())[0] == pytest.approx(expected)


@pytest.mark.parametrize("name", [*BINARY, "majority_baseline", "quadratic_kappa"])
def test_a_weight_of_two_is_the_row_twice(make_sample, name):
    sample = make_sample(threshold=0.4)
    weights = np.random.default_rng(3).integers(0, 3, size=len(sample.labels))
    repeated = sample.select(np.repeat(np.arange(len(weights)), weights))
    figure = getattr(decisions, name)
    assert figure(sample.weighted(weights[None].astype(float))) == pytest.approx(figure(repeated.weighted()))


def hand_worked(labels: str, preds: str) -> Sample:
    truth, called = (np.array([int(letter) for letter in word]) for word in (labels, preds))
    probs = np.stack([1 - called, called], axis=1).astype(float)
    return Sample(truth, probs, np.arange(len(truth)), np.zeros(len(truth), int), ("healthy", "lesion"), 0.5)


def test_a_table_worked_by_hand():
    # Lesions: 3 called, 1 missed. Healthy: 4 left, 2 called.
    weighted = hand_worked("1111000000", "1110110000").weighted()
    assert decisions.sensitivity(weighted)[0] == pytest.approx(3 / 4)
    assert decisions.specificity(weighted)[0] == pytest.approx(4 / 6)
    assert decisions.positive_predictive_value(weighted)[0] == pytest.approx(3 / 5)
    assert decisions.negative_predictive_value(weighted)[0] == pytest.approx(4 / 5)
    assert decisions.majority_baseline(weighted)[0] == pytest.approx(6 / 10)


def test_nothing_called_leaves_the_positive_predictive_value_undefined():
    weighted = hand_worked("110", "000").weighted()
    assert np.isnan(decisions.positive_predictive_value(weighted)[0])
    assert np.isnan(decisions.mcc(weighted)[0])
