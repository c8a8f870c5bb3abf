import pytest
from sklearn.metrics import cohen_kappa_score, mean_absolute_error, roc_auc_score

from pipeline.evaluation.evaluate import evaluate_predictions
from pipeline.evaluation.settings import Settings


def test_grades_are_judged_by_their_order(make_predictions):
    table = make_predictions(num_classes=4, patients=80)
    metrics = evaluate_predictions(table, Settings(task="ordinal", num_bootstrap=200))["test"]["scan"]
    test = table[table["split"] == "test"]
    labels = test["label"].str.removeprefix("grade").astype(int)
    probs = test[[f"prob_grade{k}" for k in range(4)]].to_numpy()
    calls = probs.argmax(1)
    assert metrics["quadratic_kappa"]["value"] == pytest.approx(cohen_kappa_score(labels, calls, weights="quadratic"))
    assert metrics["mean_absolute_error"]["value"] == pytest.approx(mean_absolute_error(labels, calls))
    for grade in (1, 2, 3):
        entry = metrics[f"auroc_from_grade{grade}"]
        assert entry["value"] == pytest.approx(roc_auc_score(labels >= grade, probs[:, grade:].sum(1)))
        assert entry["low"] < entry["value"] < entry["high"]


def test_classes_without_an_order_have_no_such_figures(make_predictions):
    metrics = evaluate_predictions(make_predictions(num_classes=3), Settings(num_bootstrap=100))["test"]["scan"]
    assert not {"quadratic_kappa", "mean_absolute_error", "auroc_from_grade1"} & set(metrics)


def test_an_unknown_task_suggests_the_nearest():
    with pytest.raises(ValueError, match="unknown 'ordinall'. Did you mean 'ordinal'"):
        Settings(task="ordinall")
