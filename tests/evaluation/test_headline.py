"""The headline panel of every task: what is defined, and a reason for what is not."""

import pandas as pd
import pytest

from pipeline.evaluation.headline import headline_table
from pipeline.evaluation.outputs import evaluate_task
from pipeline.evaluation.settings import Settings

CALIBRATION = ["observed_expected_ratio", "calibration_intercept", "calibration_slope"]


def panel(table: pd.DataFrame, **settings) -> pd.DataFrame:
    return headline_table(evaluate_task(table, Settings(num_bootstrap=100, **settings)))


def labels_of(table: pd.DataFrame) -> pd.DataFrame:
    """The same patients with two labels that any of them may have."""
    probs = {"prob_cyst": table["prob_lesion"], "prob_mass": 1 - table["prob_lesion"]}
    label = table["label"].map({"lesion": "cyst", "healthy": "mass"})
    return table[["scan_id", "patient_id", "fold", "split"]].assign(label=label, **probs)


def tables(make_predictions) -> dict[str, pd.DataFrame]:
    binary = make_predictions()
    return {
        "auto": binary,
        "multiclass": make_predictions(patients=90, num_classes=3),
        "ordinal": make_predictions(patients=90, num_classes=3),
        "multilabel": labels_of(binary),
    }


@pytest.mark.parametrize("task", ["auto", "multiclass", "ordinal", "multilabel"])
def test_every_row_has_a_value_or_a_reason_and_no_figure_stands_twice(make_predictions, task):
    found = panel(tables(make_predictions)[task], task=task)
    assert (found["value"].notna() | found["reason"].fillna("").astype(bool)).all()
    assert (found["low"].notna() | found["reason"].fillna("").astype(bool)).all()
    assert not found.duplicated(["metric", "class", "at"]).any()
    assert not found["metric"].isin(["f1", "balanced_accuracy"]).any()


def test_the_panel_of_two_classes_is_complete_and_repeats_what_was_computed(make_predictions):
    settings = {"prevalence": 0.05, "decision_thresholds": (0.2, 0.4)}
    table = make_predictions(patients=110)
    evaluation = evaluate_task(table, Settings(num_bootstrap=100, **settings))
    found = headline_table(evaluation).set_index("metric")
    entries, curve = evaluation.metrics["test"]["patient"], evaluation.plots["decision_curve"].set_index("threshold")
    measures = ["auroc", *CALIBRATION, "brier_score", "brier_skill_score", "positive_likelihood_ratio"]
    for name in [*measures, "positive_predictive_value_at_prevalence"]:
        assert found.loc[name, ["value", "low", "high"]].tolist() == [
            entries[name][end] for end in ("value", "low", "high")
        ]
    assert found.loc["positive_predictive_value_at_prevalence", "at"] == 0.05
    assert found.loc["net_benefit", "at"].tolist() == pytest.approx([0.2, 0.3, 0.4])
    assert found.loc["net_benefit", "value"].tolist() == curve.loc[[0.2, 0.3, 0.4], "net_benefit"].tolist()
    assert f"floor {entries['brier_uncertainty']['value']:.3f}" in found.loc["brier_score", "note"]
    assert found.loc["brier_score", "calibrated_value"] == entries["calibrated_brier_score"]["value"]


@pytest.mark.parametrize(
    ("task", "names"), [("multiclass", ["grade0", "grade1", "grade2"]), ("multilabel", ["cyst", "mass"])]
)
def test_classes_and_labels_have_calibration_each(make_predictions, task, names):
    found = panel(tables(make_predictions)[task], task=task)
    each = found[found["group"] == "Each class"]
    for metric in ("auroc", *CALIBRATION, "sensitivity"):
        assert each.loc[each["metric"] == metric, "class"].tolist() == names
    assert each["value"].notna().all()


def test_grades_have_their_own_agreement(make_predictions):
    found = panel(tables(make_predictions)["ordinal"], task="ordinal")
    assert found.set_index("metric").loc["quadratic_kappa", "low"] > 0
