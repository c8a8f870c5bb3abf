import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from pipeline.evaluation.calibration import METHODS, fit_calibration
from pipeline.evaluation.ensembling import by_model, ensemble_models
from pipeline.evaluation.evaluate import evaluate_table
from pipeline.evaluation.metrics import select_metrics
from pipeline.evaluation.models_table import spread
from pipeline.evaluation.sample import sample_of
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.estimates import estimate_metrics

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
        assert fitted.method != "none"
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


def of_noise(patients: int, num_classes: int, num_folds: int, seed: int) -> pd.DataFrame:
    """Validation patients of several models whose probabilities have nothing to do with the labels."""
    rng = np.random.default_rng(seed)
    names, ids = [f"c{k}" for k in range(num_classes)], np.arange(patients)
    columns = {"scan_id": ids.astype(str), "patient_id": ids.astype(str), "fold": ids % num_folds, "seed": 0}
    probs = pd.DataFrame(rng.dirichlet(np.ones(num_classes), size=patients), columns=[f"prob_{name}" for name in names])
    return pd.DataFrame(columns).assign(split="val", label=rng.choice(names, size=patients)).join(probs)


def interval_of_auroc(table: pd.DataFrame, method: str) -> tuple[float, float]:
    """With every model calibrated by the method, whether or not it needs it."""
    calibrations = {name: METHODS[method](sample_of(rows)) for name, rows in by_model(table)}
    sample = sample_of(ensemble_models(table, calibrations).rows)
    estimate = estimate_metrics(sample, {"auroc": select_metrics(sample, QUICK)["auroc"]}, QUICK)["auroc"]
    return estimate.low, estimate.high


@pytest.mark.parametrize(("num_classes", "patients", "method"), [(5, 200, "vector"), (2, 2000, "isotonic")])
def test_noise_is_not_made_skill_by_calibrating_validation_on_itself(num_classes, patients, method):
    """Fitted on the patients that it is shown for, it lies above chance in most cohorts."""
    found = np.array([interval_of_auroc(of_noise(patients, num_classes, 2, seed), method) for seed in range(12)])
    assert (found[:, 0] > 0.5).sum() <= 2 and (found[:, 1] < 0.5).sum() <= 3


def test_several_models_show_on_validation_the_slope_that_one_model_shows(make_predictions):
    """Overconfident folds: calibrated on themselves they would have a slope of 1.000 and an intercept of 0."""
    entries = evaluate_table(make_predictions(patients=450, num_folds=3, signal=0.4), QUICK).metrics["val"]["patient"]
    assert abs(entries["calibration_slope"]["value"] - 1) > 0.001
    assert abs(entries["calibration_intercept"]["value"]) > 0.001
    assert "by what the others say" in entries["calibrated_brier_score"]["reason"]
