from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from pipeline.evaluation.baselines import compare_with_baseline, evaluate_baselines
from pipeline.evaluation.covariates import Covariates
from pipeline.evaluation.sample import Sample

Cohort = tuple[Sample, pd.DataFrame, pd.DataFrame, pd.DataFrame]


def made(shortcut: float, patients: int = 200, seed: int = 0) -> Cohort:
    """Half of the patients are the test set; site `a` goes with the label as strongly as `shortcut` says."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(patients) % 2)
    follows = rng.random(patients) < shortcut
    site = np.where(follows, labels, rng.integers(2, size=patients))
    ids = np.array([f"p{number}" for number in range(patients)])
    cohort = pd.DataFrame(
        {
            "patient_id": ids,
            "site": np.array(["a", "b"])[site],
            "age": (50 + 5 * rng.normal(size=patients) + 4 * labels).round(1).astype(str),
            "spacing_mm": np.where(rng.random(patients) < 0.5, "1x1x3", "1x1x1.5"),
        }
    )
    is_test = np.arange(patients) >= patients // 2
    splits = pd.DataFrame(
        {
            "patient_id": ids,
            "label": np.array(["healthy", "lesion"])[labels],
            "split": np.where(is_test, "test", "development"),
            "fold": np.where(is_test, "", (np.arange(patients) % 5).astype(str)),
        }
    )
    logits = rng.normal(size=is_test.sum()) + 3 * (labels[is_test] - 0.5)
    probs = 1 / (1 + np.exp(-logits))
    rows = np.arange(is_test.sum())
    sample = Sample(labels[is_test], np.stack([1 - probs, probs], 1), rows, rows * 0, ("healthy", "lesion"))
    judged = pd.DataFrame({"patient_id": ids[is_test], "split": "test", "fold": 0})
    return sample, judged, cohort, splits


def judge(shortcut: float, seed: int = 0) -> pd.DataFrame:
    sample, rows, cohort, splits = made(shortcut, seed=seed)
    covariates = Covariates(cohort, splits, clinical=("age",), acquisition=("site",))
    return evaluate_baselines(sample, rows, covariates, 0.95).set_index("name")


def test_the_clinical_floor_is_a_logistic_regression_fitted_on_development():
    sample, _, cohort, splits = made(0.0)
    is_test = (splits["split"] == "test").to_numpy()
    ages = cohort[["age"]].astype(float).to_numpy()
    scaler = StandardScaler().fit(ages[~is_test])
    model = LogisticRegression().fit(scaler.transform(ages[~is_test]), splits["label"][~is_test] == "lesion")
    scores = model.predict_proba(scaler.transform(ages[is_test]))[:, 1]
    found = judge(0.0).loc["clinical covariates"]
    assert found["auroc"] == pytest.approx(roc_auc_score(sample.labels, scores))
    expected = roc_auc_score(sample.labels, sample.probs[:, 1]) - found["auroc"]
    assert found["advantage"] == pytest.approx(expected)
    assert found["advantage_low"] < expected < found["advantage_high"]


def test_a_planted_site_shortcut_shows_in_the_acquisition_floor():
    assert judge(0.8).loc["acquisition", "low"] > 0.5


@pytest.mark.slow
def test_clean_cohorts_rarely_raise_the_alarm():
    """The lower bound of a 95 % interval lies above chance in 2.5 % of clean cohorts: over 5 of 60 in 1 of 250."""
    alarms = sum(float(judge(0.0, seed=seed).loc["acquisition", "low"]) > 0.5 for seed in range(1, 61))
    assert alarms <= 5


def test_validation_patients_are_scored_by_models_that_never_saw_them():
    """The column says the label in the large fold and its opposite in the small one, from which the large is judged."""
    labels, folds = np.arange(80) % 2, np.where(np.arange(80) < 60, 0, 1)
    ids = [f"p{number}" for number in range(80)]
    code = np.where(folds == 0, labels, 1 - labels).astype(str)
    cohort = pd.DataFrame({"patient_id": ids, "code": code})
    splits = pd.DataFrame(
        {
            "patient_id": ids,
            "label": np.array(["healthy", "lesion"])[labels],
            "split": "development",
            "fold": folds.astype(str),
        }
    )
    rows = np.arange(60)
    sample = Sample(labels[:60], np.full((60, 2), 0.5), rows, rows * 0, ("healthy", "lesion"))
    judged = pd.DataFrame({"patient_id": ids[:60], "split": "val", "fold": 0})
    found = evaluate_baselines(sample, judged, Covariates(cohort, splits, clinical=("code",)), 0.95)
    assert found.set_index("name").loc["clinical covariates", "auroc"] == 0


def test_a_floor_that_varies_between_folds_alone_has_no_figure():
    sample, *_ = made(0.0)
    folded = replace(sample, folds=np.arange(len(sample.labels)) % 5)
    found = compare_with_baseline(folded, folded.folds / 10, "clinical covariates", "age", 0.95)
    assert (found.auroc, found.reason) == (None, "nothing varies")


def test_without_columns_or_splits_the_reason_is_given():
    sample, rows, cohort, _ = made(0.0)
    found = evaluate_baselines(sample, rows, Covariates(cohort[["patient_id", "age"]], clinical=("age",)), 0.95)
    assert found.set_index("name")["reason"].to_dict() == {
        "clinical covariates": "splits.csv is missing, so there are no patients to fit on",
        "acquisition": "no column has this role",
    }
