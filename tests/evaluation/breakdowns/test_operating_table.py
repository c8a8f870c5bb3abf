import pytest

from pipeline.evaluation.breakdowns.operating_table import OPERATING_POINTS
from pipeline.evaluation.evaluating import evaluate_table
from pipeline.evaluation.fitted.operating_point import choose_operating_point
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.tables.sample import sample_of


def test_every_rule_is_chosen_on_validation_and_judged_on_test(make_predictions):
    table = make_predictions(patients=100)
    found = evaluate_table(table, Settings(num_bootstrap=100)).plots[OPERATING_POINTS]
    assert list(found["rule"].unique()) == ["youden", "sensitivity", "specificity", "cost"]
    patients = table.groupby(["split", "patient_id", "label"])[["prob_healthy", "prob_lesion"]].mean().reset_index()
    validation, test = (sample_of(patients[patients["split"] == split].assign(fold=0)) for split in ("val", "test"))
    for rule, rows in found.groupby("rule"):
        threshold = choose_operating_point(validation, Settings(operating_point=rule), 2).threshold
        assert rows["threshold"].tolist() == pytest.approx([threshold] * 4)
        called = test.probs[test.labels == 1, 1] >= threshold
        assert rows.set_index("metric").loc["sensitivity", "value"] == pytest.approx(called.mean())


def test_a_threshold_for_the_mean_of_several_folds_is_said_to_be_approximate(make_predictions):
    for num_folds, caveats in ((1, 0), (3, 16)):
        evaluation = evaluate_table(make_predictions(patients=90, num_folds=num_folds), Settings(num_bootstrap=100))
        found = evaluation.plots[OPERATING_POINTS]["caveat"].fillna("")
        assert found.str.contains("approximate").sum() == caveats


def test_a_rule_that_cannot_be_followed_says_why(make_predictions):
    found = evaluate_table(make_predictions(), Settings(num_bootstrap=100, operating_target=0.95)).plots
    reasons = found[OPERATING_POINTS].set_index("rule")["reason"]
    assert "needs 40 validation patients" in reasons["sensitivity"]
    assert found[OPERATING_POINTS].set_index("rule").loc["sensitivity", "threshold"] != 0.5


def test_without_validation_no_rule_has_a_threshold(make_predictions):
    table = make_predictions()
    found = evaluate_table(table[table["split"] == "test"], Settings(num_bootstrap=100)).plots[OPERATING_POINTS]
    assert found["threshold"].isna().all()
    assert found["reason"].str.contains("no validation rows").all()
