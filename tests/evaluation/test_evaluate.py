import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from pipeline.core.paths import EvaluationPaths
from pipeline.evaluation.evaluate import evaluate_predictions, evaluate_table
from pipeline.evaluation.outputs import write_evaluation
from pipeline.evaluation.settings import Settings

QUICK = Settings(num_bootstrap=200)


def test_values_are_those_of_scikit_learn_at_both_levels(make_predictions):
    table = make_predictions()
    metrics = evaluate_predictions(table, QUICK)["test"]
    test = table[table["split"] == "test"]
    patients = test.groupby(["patient_id", "label"])["prob_lesion"].mean().reset_index()
    assert metrics["scan"]["auroc"]["value"] == pytest.approx(
        roc_auc_score(test["label"] == "lesion", test["prob_lesion"])
    )
    assert metrics["patient"]["auroc"]["value"] == pytest.approx(
        roc_auc_score(patients["label"] == "lesion", patients["prob_lesion"])
    )


def test_the_threshold_comes_from_validation_and_is_applied_to_test(make_predictions):
    table = make_predictions()
    evaluation = evaluate_table(table, QUICK)
    threshold = evaluation.fitted["scan"].point.threshold
    test = table[table["split"] == "test"]
    expected = accuracy_score(test["label"] == "lesion", test["prob_lesion"] >= threshold)
    assert evaluation.metrics["test"]["scan"]["accuracy"]["value"] == pytest.approx(expected)


def test_test_labels_move_neither_threshold_nor_calibration(make_predictions):
    table = make_predictions(patients=110)
    flipped = table.copy()
    test = flipped["split"] == "test"
    flipped.loc[test, "label"] = flipped.loc[test, "label"].map({"healthy": "lesion", "lesion": "healthy"})
    first, second = evaluate_table(table, QUICK), evaluate_table(flipped, QUICK)
    assert first.fitted == second.fitted
    # Up to ties, which continuous scores have not.
    values = [e.metrics["test"]["patient"]["auroc"]["value"] for e in (first, second)]
    assert sum(values) == pytest.approx(1)


def test_every_value_lies_in_its_interval_and_every_null_has_a_reason(make_predictions):
    for num_classes in (2, 3):
        metrics = evaluate_predictions(make_predictions(num_classes=num_classes), QUICK)
        for levels in metrics.values():
            for entry in [entry for entries in levels.values() for entry in entries.values()]:
                assert (entry["low"] is None) == (entry["high"] is None)
                assert entry["reason"] or entry["value"] is not None
                assert entry["reason"] or entry["low"] is not None
                if entry["low"] is not None:
                    assert entry["low"] - 1e-9 <= entry["value"] <= entry["high"] + 1e-9


def test_more_scans_of_the_same_patients_do_not_narrow_the_interval(make_predictions):
    table = make_predictions()
    copies = table.assign(scan_id=table["scan_id"] + "-again")
    doubled = evaluate_predictions(pd.concat([table, copies]), QUICK)["test"]["scan"]
    once = evaluate_predictions(table, QUICK)["test"]["scan"]
    for name in ("auroc", "accuracy", "sensitivity", "brier_score"):
        for bound in ("low", "high"):
            assert doubled[name][bound] == pytest.approx(once[name][bound], abs=0.01)


def test_row_order_does_not_matter(make_predictions):
    table = make_predictions(num_folds=2)
    first = evaluate_predictions(table, QUICK)["val"]["patient"]
    shuffled = evaluate_predictions(table.sample(frac=1, random_state=0), QUICK)["val"]["patient"]
    for name, entry in first.items():
        if entry["value"] is not None:
            assert shuffled[name]["value"] == pytest.approx(entry["value"])


def test_folds_are_averaged_on_test_and_kept_apart_on_validation(make_predictions):
    table = make_predictions(num_folds=3, patients=90)
    metrics = evaluate_predictions(table, QUICK)
    test = table[table["split"] == "test"].groupby(["scan_id", "label"])["prob_lesion"].mean().reset_index()
    assert metrics["test"]["scan"]["auroc"]["value"] == pytest.approx(
        roc_auc_score(test["label"] == "lesion", test["prob_lesion"])
    )
    val = table[table["split"] == "val"]
    folds = [part for _, part in val.groupby("fold")]
    pairs = [(part["label"] == "lesion").sum() * (part["label"] == "healthy").sum() for part in folds]
    aurocs = [roc_auc_score(part["label"] == "lesion", part["prob_lesion"]) for part in folds]
    assert metrics["val"]["scan"]["auroc"]["value"] == pytest.approx(np.average(aurocs, weights=pairs))


def test_a_single_class_is_null_with_the_reason(make_predictions):
    table = make_predictions()
    table = table[(table["split"] == "val") | (table["label"] == "lesion")]
    entry = evaluate_predictions(table, QUICK)["test"]["patient"]["auroc"]
    assert entry["value"] is None
    assert entry["reason"] == "no patients of class 'healthy' among 30"


def test_a_fold_with_a_single_patient_of_a_class_leaves_a_value_without_an_interval(make_predictions, tmp_path):
    table = make_predictions(num_folds=3)
    lesions = table.loc[(table["split"] == "val") & (table["label"] == "lesion"), "patient_id"].unique()
    moved = table["patient_id"].isin(lesions[lesions > "val-006"]) & (table["fold"] == 0)
    table = table.assign(fold=table["fold"].where(~moved, 1))
    evaluation = evaluate_table(table[table["split"] == "val"], QUICK)
    entry = evaluation.metrics["val"]["patient"]["auroc"]
    assert entry["value"] is not None and (entry["low"], entry["high"]) == (None, None)
    assert "a fold has a single patient of a class" in entry["reason"]
    write_evaluation(evaluation, EvaluationPaths(tmp_path))


def test_a_constant_score_is_null_with_the_reason(make_predictions):
    table = make_predictions().assign(prob_healthy=0.5, prob_lesion=0.5)
    entry = evaluate_predictions(table, QUICK)["test"]["patient"]["auroc"]
    assert (entry["value"], entry["reason"]) == (None, "every score is the same")


@pytest.mark.parametrize("num_classes", [2, 3])
def test_scores_that_vary_between_folds_alone_are_null_with_the_reason(make_predictions, num_classes):
    """Networks that collapsed, each to an answer of its own."""
    table = make_predictions(num_folds=5, num_classes=num_classes)
    columns = [name for name in table if name.startswith("prob_")]
    last = 0.2 + 0.1 * table["fold"]
    table = table.assign(**{name: (1 - last) / (num_classes - 1) for name in columns[:-1]}, **{columns[-1]: last})
    entries = evaluate_predictions(table[table["split"] == "val"], QUICK)["val"]["patient"]
    for name in ("auroc", "average_precision"):
        assert (entries[name]["value"], entries[name]["reason"]) == (None, "every score is the same within its fold")


def test_folds_of_one_class_each_are_null_with_the_reason(make_predictions):
    table = make_predictions(num_folds=2)
    entry = evaluate_predictions(table[table["split"] == "val"], QUICK)["val"]["patient"]["auroc"]
    assert (entry["value"], entry["reason"]) == (None, "no fold has both a class and the rest")


def test_one_scan_a_patient_gives_the_interval_of_a_plain_share(make_predictions):
    table = make_predictions(patients=50).drop_duplicates("patient_id")
    entry = evaluate_predictions(table, QUICK)["test"]["patient"]["sensitivity"]
    expected = proportion_confint(round(25 * entry["value"]), 25, method="wilson")
    assert 0 < entry["value"] < 1
    assert (entry["low"], entry["high"]) == pytest.approx(expected)


def test_few_patients_have_a_value_but_no_interval(make_predictions):
    entry = evaluate_predictions(make_predictions(patients=18), QUICK)["test"]["patient"]["auroc"]
    assert entry["value"] is not None
    assert entry["low"] is None
    assert "9 patients of" in entry["reason"]


def test_a_patient_with_two_labels_leaves_the_scans_only(make_predictions):
    table = make_predictions()
    table.loc[table["scan_id"] == "test-001-0", "patient_id"] = "test-000"
    evaluation = evaluate_table(table, QUICK)
    assert "different labels" in evaluation.metrics["test"]["patient"]["auroc"]["reason"]
    assert evaluation.metrics["test"]["scan"]["auroc"]["value"] is not None
    assert evaluation.headline == ("test", "scan")


def test_perfect_separation_still_has_an_honest_lower_bound(make_predictions):
    entry = evaluate_predictions(make_predictions(signal=50.0), QUICK)["test"]["patient"]["auroc"]
    assert entry["value"] == entry["high"] == 1
    assert 0.8 < entry["low"] < 1


def test_a_wider_confidence_widens_every_interval(make_predictions):
    table = make_predictions()
    narrow, wide = (
        evaluate_predictions(table, Settings(num_bootstrap=500, confidence=level))["test"]["patient"]
        for level in (0.8, 0.99)
    )
    for name, entry in narrow.items():
        if entry["low"] is not None:
            assert wide[name]["low"] <= entry["low"] <= entry["high"] <= wide[name]["high"]


def test_calibration_is_reported_beside_the_raw_figures_on_test_only(make_predictions):
    metrics = evaluate_predictions(make_predictions(patients=110), QUICK)
    assert metrics["test"]["patient"]["calibrated_brier_score"]["value"] is not None
    assert "fitted on these patients" in metrics["val"]["patient"]["calibrated_brier_score"]["reason"]


def test_plot_tables_show_the_headline(make_predictions):
    evaluation = evaluate_table(make_predictions(), QUICK)
    roc = evaluation.plots["roc"]
    area = np.trapezoid(roc["sensitivity"], roc["false_positive_rate"])
    assert evaluation.headline == ("test", "patient")
    assert area == pytest.approx(evaluation.metrics["test"]["patient"]["auroc"]["value"])
    confusion = evaluation.plots["confusion"]
    right = (confusion["actual"] == confusion["predicted"]).mean()
    assert right == pytest.approx(evaluation.metrics["test"]["patient"]["accuracy"]["value"])
    assert evaluation.plots["calibration"]["num_rows"].sum() == 60


def test_a_class_that_a_split_lacks_nulls_its_own_figures_alone(make_predictions):
    table = make_predictions(patients=120, num_classes=3)
    table = table[(table["split"] == "val") | (table["label"] != "grade2")]
    entries = evaluate_predictions(table, QUICK)["test"]["patient"]
    patients = table[table["split"] == "test"].groupby(["patient_id", "label"])["prob_grade0"].mean().reset_index()
    expected = roc_auc_score(patients["label"] == "grade0", patients["prob_grade0"])
    assert entries["auroc_grade0"]["value"] == pytest.approx(expected)
    for name in ("auroc_grade0", "auroc_grade1", "average_precision_grade0", "average_precision_grade1"):
        assert entries[name]["low"] < entries[name]["value"] < entries[name]["high"], name
    for name in ("auroc", "auroc_grade2", "average_precision", "average_precision_grade2"):
        assert entries[name]["value"] is None
        assert entries[name]["reason"] == "no patients of class 'grade2' among 80"


def test_a_rare_class_leaves_the_intervals_of_the_others(make_predictions):
    table = make_predictions(patients=120, num_classes=3)
    rare = table["label"].eq("grade2") & table["split"].eq("test")
    kept = table.loc[rare, "patient_id"].unique()[:4]
    entries = evaluate_predictions(table[~rare | table["patient_id"].isin(kept)], QUICK)["test"]["patient"]
    assert entries["average_precision_grade0"]["low"] is not None
    assert entries["average_precision_grade2"]["reason"] == "4 patients of grade2, an interval needs 10"
