"""Figures of test patients without a near twin in training."""

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.evaluation.evaluate import evaluate_predictions, evaluate_table
from pipeline.evaluation.near_twins import patients_with_twins, with_figures_without_twins
from pipeline.evaluation.settings import Settings

QUICK = Settings(num_bootstrap=100)


def finding(*scans: str, kind: str = "near-duplicate", across: bool = True) -> dict:
    return {"kind": kind, "scans": list(scans), "across_splits": across}


def test_only_test_patients_that_share_content_with_development_have_a_twin():
    rows = [("a", "A", "test", ""), ("b", "B", "development", "0"), ("c", "C", "development", "1")]
    rows += [("d", "D", "test", ""), ("e", "E", "test", "")]
    splits = pd.DataFrame(rows, columns=["scan_id", "patient_id", "split", "fold"])
    leakage = {
        "findings": [
            *(finding("a", "b"), finding("b", "c"), finding("d", "e", across=False)),
            finding("e", kind="pretraining"),
        ]
    }
    assert patients_with_twins(leakage, splits) == {"A"}


def test_every_part_of_a_nested_division_is_trained_on_for_the_others():
    rows = [("a", "A", "nested", "0"), ("b", "B", "nested", "1"), ("c", "C", "nested", "1")]
    splits = pd.DataFrame(rows, columns=["scan_id", "patient_id", "split", "fold"])
    assert patients_with_twins({"findings": [finding("a", "b")]}, splits) == {"A", "B"}
    assert patients_with_twins({"findings": [finding("b", "c", across=False)]}, splits) == set()


def test_the_others_are_evaluated_alone_at_the_threshold_of_all(make_predictions):
    table = make_predictions(patients=80)
    twins = {f"test-{number:03d}" for number in range(0, 80, 3)}
    whole = evaluate_table(table, QUICK)
    found = with_figures_without_twins(whole, table, twins).metrics["test"]["patient"]
    left = table[(table["split"] == "test") & ~table["patient_id"].isin(twins)]
    patients = left.groupby(["patient_id", "label"])["prob_lesion"].mean().reset_index()
    is_ill = patients["label"] == "lesion"
    assert found["without_twins_auroc"]["value"] == pytest.approx(roc_auc_score(is_ill, patients["prob_lesion"]))
    assert found["without_twins_auroc"]["num_patients"] == 80 - len(twins)
    called = patients["prob_lesion"] >= whole.fitted["patient"].point.threshold
    assert found["without_twins_sensitivity"]["value"] == pytest.approx(called[is_ill].mean())
    assert found["auroc"] == evaluate_predictions(table, QUICK)["test"]["patient"]["auroc"]


def test_no_twins_or_too_few_others_are_null_with_a_reason(make_predictions):
    table = make_predictions()
    for twins, reason in (
        (set(), "no near twin of the 60 test patients is in training"),
        ({f"test-{number:03d}" for number in range(55)}, "5 of 60 test patients have no near twin in training"),
    ):
        evaluation = with_figures_without_twins(evaluate_table(table, QUICK), table, twins)
        entry = evaluation.metrics["test"]["patient"]["without_twins_auroc"]
        assert entry["value"] is None and reason in entry["reason"]
