import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, roc_auc_score

from pipeline.core.paths import EvaluationPaths
from pipeline.evaluation.covariates import Covariates
from pipeline.evaluation.multilabel import evaluate_labels
from pipeline.evaluation.outputs import read_fitted, write_evaluation
from pipeline.evaluation.settings import Settings

QUICK = Settings(task="multilabel", num_bootstrap=200)
NAMES = ["cyst", "stone", "tumour"]


def made(patients: int = 90, seed: int = 0, signal: float = 1.5) -> pd.DataFrame:
    """Three labels that may come together or not at all, one scan a patient, independent probabilities."""
    rng = np.random.default_rng(seed)
    rows = []
    for split in ("val", "test"):
        present = rng.random((patients, 3)) < [0.5, 0.4, 0.3]
        probs = 1 / (1 + np.exp(-(rng.normal(size=(patients, 3)) + signal * (present - 0.5))))
        for patient in range(patients):
            label = ";".join(name for name, here in zip(NAMES, present[patient], strict=True) if here) or "none"
            rows.append([f"{split}{patient}", f"{split}{patient}", split, label, *probs[patient]])
    return pd.DataFrame(rows, columns=["scan_id", "patient_id", "split", "label", *(f"prob_{n}" for n in NAMES)])


def truth_and_probs(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    test = table[table["split"] == "test"]
    truth = np.array([[name in label.split(";") for name in NAMES] for label in test["label"]])
    return truth, test[[f"prob_{name}" for name in NAMES]].to_numpy()


def test_means_and_each_label_are_those_of_scikit_learn():
    table = made()
    metrics = evaluate_labels(table, QUICK).metrics["test"]["patient"]
    truth, probs = truth_and_probs(table)
    assert metrics["auroc"]["value"] == pytest.approx(roc_auc_score(truth, probs, average="macro"))
    expected = average_precision_score(truth, probs, average="macro")
    assert metrics["average_precision"]["value"] == pytest.approx(expected)
    for k, name in enumerate(NAMES):
        assert metrics[f"auroc_{name}"]["value"] == pytest.approx(roc_auc_score(truth[:, k], probs[:, k]))
    for name in ("auroc", "f1", "brier_score"):
        assert metrics[name]["low"] < metrics[name]["value"] < metrics[name]["high"]


def test_all_labels_right_is_the_share_of_rows_without_an_error():
    table = made()
    found = evaluate_labels(table, QUICK)
    truth, probs = truth_and_probs(table)
    thresholds = [found.fitted["patient"][name].point.threshold for name in NAMES]
    expected = accuracy_score(truth, probs >= thresholds)
    assert found.metrics["test"]["patient"]["exact_match"]["value"] == pytest.approx(expected)


def test_a_label_nobody_has_leaves_the_mean_undefined_with_its_name():
    table = made()
    table["label"] = [";".join(set(label.split(";")) - {"tumour"}) or "none" for label in table["label"]]
    metrics = evaluate_labels(table, QUICK).metrics["test"]["patient"]
    assert metrics["auroc"]["value"] is None
    assert metrics["auroc"]["reason"].startswith("tumour: no patients of class 'tumour'")
    assert metrics["auroc_cyst"]["value"] is not None


def test_the_mean_is_narrower_than_its_labels_and_wider_than_if_they_were_one_patient_each():
    metrics = evaluate_labels(made(), QUICK).metrics["test"]["patient"]

    def width(name: str) -> float:
        return metrics[name]["high"] - metrics[name]["low"]

    widths = [width(f"auroc_{name}") for name in NAMES]
    assert np.mean(widths) / 3 < width("auroc") < np.mean(widths)


def test_frozen_thresholds_are_kept_by_label_and_not_taken_for_a_single_one(tmp_path):
    write_evaluation(evaluate_labels(made(), QUICK), EvaluationPaths(tmp_path))
    points = json.loads(EvaluationPaths(tmp_path).operating_point.read_text())
    assert set(points["patient"]) == set(NAMES)
    with pytest.raises(ValueError, match="each of several labels, outer parts or repeats has a threshold of its own"):
        read_fitted(EvaluationPaths(tmp_path))


def test_an_unknown_label_among_several_is_refused_with_the_nearest():
    table = made()
    table.loc[3, "label"] = "cyst;tumor"
    with pytest.raises(ValueError, match="label 'tumor'. Did you mean 'tumour'"):
        evaluate_labels(table, QUICK)


def test_a_floor_is_fitted_for_each_label_and_named_after_it():
    """A marker that gives one label away, and says nothing of the others."""
    table = made(patients=120)
    shows_cyst = table["label"].str.contains("cyst").astype(int)
    cohort = table[["patient_id"]].assign(marker=(shows_cyst + np.arange(len(table)) % 7 / 10).astype(str))
    splits = table[["patient_id", "label"]].assign(
        split=np.where(table["split"] == "test", "test", "development"), fold=np.arange(len(table)) % 5
    )
    found = evaluate_labels(table, QUICK, Covariates(cohort, splits, clinical=("marker",))).baselines.set_index("name")
    assert found.loc["cyst: clinical covariates", "auroc"] > 0.95
    assert found.loc["tumour: clinical covariates", "auroc"] < 0.75
