import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from pipeline.evaluation.calibration import fit_calibration
from pipeline.evaluation.evaluate import evaluate_table
from pipeline.evaluation.models_table import spread
from pipeline.evaluation.sample import sample_of
from pipeline.evaluation.settings import Settings

QUICK = Settings(num_bootstrap=100)


def shifted_folds(make_predictions):
    """Three folds of 50 validation patients, the second of which states every probability far too high."""
    table = make_predictions(patients=150, num_folds=3)
    logits = np.log(table["prob_lesion"] / table["prob_healthy"]) + 3 * (table["fold"] == 1)
    probs = 1 / (1 + np.exp(-logits))
    return table.assign(prob_lesion=probs, prob_healthy=1 - probs)


def test_test_probabilities_are_the_mean_of_those_calibrated_by_fold(make_predictions):
    table = shifted_folds(make_predictions)
    metrics = evaluate_table(table, QUICK).metrics["test"]["scan"]
    corrected = []
    for _, rows in table.groupby("fold"):
        fitted = fit_calibration(sample_of(rows[rows["split"] == "val"]))
        test = rows[rows["split"] == "test"].set_index("scan_id").sort_index()
        corrected.append(fitted.apply(test[["prob_healthy", "prob_lesion"]].to_numpy())[:, 1])
        assert fitted.method == "temperature"
    truth = test["label"] == "lesion"
    assert metrics["brier_score"]["value"] == pytest.approx(brier_score_loss(truth, np.mean(corrected, axis=0)))
    assert metrics["auroc"]["value"] == pytest.approx(roc_auc_score(truth, np.mean(corrected, axis=0)))
    assert "calibrated before averaging" in metrics["calibrated_brier_score"]["reason"]


def test_a_fold_too_small_to_calibrate_leaves_all_as_they_are(make_predictions):
    table = make_predictions(patients=60, num_folds=2)
    metrics = evaluate_table(table, QUICK).metrics["test"]["scan"]
    test = table[table["split"] == "test"].groupby(["scan_id", "label"])["prob_lesion"].mean().reset_index()
    expected = brier_score_loss(test["label"] == "lesion", test["prob_lesion"])
    assert metrics["brier_score"]["value"] == pytest.approx(expected)
    assert "30 validation patients, a temperature needs 40" in metrics["calibrated_brier_score"]["reason"]


def test_a_threshold_from_several_folds_is_said_to_be_approximate(make_predictions):
    point = evaluate_table(make_predictions(patients=120, num_folds=3), QUICK).fitted["patient"].point
    assert "approximate" in point.reason
    assert "mean of 3" in point.reason


def test_each_fold_and_seed_is_judged_by_itself_and_their_spread_is_known(make_predictions):
    one = make_predictions(patients=80, num_folds=2)
    other = make_predictions(patients=80, num_folds=2, signal=3.0)
    table = [one.assign(seed=0), other.assign(seed=1)]
    models = evaluate_table(pd.concat(table), QUICK).models
    aurocs = models[models["metric"] == "auroc"].set_index(["seed", "fold"])["value"]
    assert set(aurocs.index) == {(0, 0), (0, 1), (1, 0), (1, 1), (0, "all"), (1, "all")}
    rows = one[(one["split"] == "test") & (one["fold"] == 1)]
    patients = rows.groupby(["patient_id", "label"])["prob_lesion"].mean().reset_index()
    assert aurocs[(0, 1)] == pytest.approx(roc_auc_score(patients["label"] == "lesion", patients["prob_lesion"]))
    lowest, highest, deviation = spread(models, by="seed")
    assert (lowest, highest) == pytest.approx((aurocs[(0, "all")], aurocs[(1, "all")]))
    assert deviation == pytest.approx((highest - lowest) / np.sqrt(2))
