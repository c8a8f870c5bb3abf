from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from pipeline.core.paths import EvaluationPaths
from pipeline.evaluation.covariates import Covariates
from pipeline.evaluation.evaluate import evaluate_table
from pipeline.evaluation.external import evaluate_external_cohort, shift_intercept
from pipeline.evaluation.metrics.calibration import logit
from pipeline.evaluation.outputs import read_fitted, write_evaluation
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.settings import Settings

QUICK = Settings(num_bootstrap=200)


def external_cohort(make_predictions, prevalence_shift: float) -> pd.DataFrame:
    """Other patients; the same ranking, every logit too high by `prevalence_shift`."""
    table = make_predictions(seed=5, patients=160)
    table = table[table["split"] == "test"].assign(patient_id=lambda rows: "x" + rows["patient_id"])
    probs = 1 / (1 + np.exp(-(logit(table["prob_lesion"].to_numpy()) + prevalence_shift)))
    return table.assign(prob_lesion=probs, prob_healthy=1 - probs)


def test_what_was_frozen_is_applied_as_it_is_after_a_way_through_files(make_predictions, tmp_path):
    home = evaluate_table(make_predictions(patients=110), QUICK)
    write_evaluation(home, EvaluationPaths(tmp_path))
    fitted = read_fitted(EvaluationPaths(tmp_path))
    assert {level: fitted.point for level, fitted in fitted.items()} == {
        level: fitted.point for level, fitted in home.fitted.items()
    }
    table = external_cohort(make_predictions, 0.0)
    metrics = evaluate_external_cohort(table, QUICK, fitted).metrics["test"]["scan"]
    truth = table["label"] == "lesion"
    called = table["prob_lesion"] >= home.fitted["scan"].point.threshold
    assert metrics["sensitivity"]["value"] == pytest.approx(called[truth].mean())
    assert metrics["calibrated_brier_score"]["value"] is not None


def test_another_prevalence_is_repaired_by_the_intercept_and_seen_beside_the_figure_as_it_is(make_predictions):
    fitted = evaluate_table(make_predictions(patients=110), QUICK).fitted
    metrics = evaluate_external_cohort(external_cohort(make_predictions, 2.5), QUICK, fitted).metrics["test"]["patient"]
    assert metrics["calibration_intercept"]["value"] < -1
    assert metrics["recalibrated_calibration_intercept"]["value"] == pytest.approx(0, abs=0.15)
    assert metrics["recalibrated_brier_score"]["value"] < metrics["brier_score"]["value"] - 0.05


def test_where_no_shift_is_needed_the_recalibrated_calls_are_the_frozen_ones(make_predictions):
    """An overconfident model's calibration would move its probabilities away from its threshold."""
    home = make_predictions(patients=400)
    table = external_cohort(make_predictions, 0.0)
    fitted = evaluate_table(overconfident(home), replace(QUICK, operating_point="sensitivity")).fitted
    metrics = evaluate_external_cohort(overconfident(table), QUICK, fitted).metrics["test"]["patient"]
    assert metrics["calibrated_calibration_slope"]["value"] > 2 * metrics["calibration_slope"]["value"]
    assert abs(metrics["recalibrated_sensitivity"]["value"] - metrics["sensitivity"]["value"]) < 0.06


def overconfident(table: pd.DataFrame) -> pd.DataFrame:
    """Every logit three times as large."""
    probs = 1 / (1 + np.exp(-3 * logit(table["prob_lesion"].to_numpy())))
    return table.assign(prob_lesion=probs, prob_healthy=1 - probs)


def test_each_part_is_shifted_by_what_the_others_say():
    rng = np.random.default_rng(0)
    labels, scores = np.arange(100) % 2, rng.normal(size=100) + np.arange(100) % 2
    probs = 1 / (1 + np.exp(-scores))
    sample = Sample(labels, np.stack([1 - probs, probs], 1), np.arange(100), labels * 0, ("a", "b"))
    found = logit(shift_intercept(sample).probs[:, 1]) - scores
    rest = np.arange(100) % 10 != 3
    fitted = sm.GLM(labels[rest], np.ones(90), sm.families.Binomial(), offset=scores[rest]).fit()
    assert found[3] == pytest.approx(fitted.params[0], rel=1e-4)


def test_an_external_cohort_is_judged_by_its_own_kinds_of_patients(make_predictions):
    fitted = evaluate_table(make_predictions(patients=110), QUICK).fitted
    table = external_cohort(make_predictions, 0.0)
    patients = table["patient_id"].unique()
    cohort = pd.DataFrame({"patient_id": patients, "sex": np.where(np.arange(len(patients)) % 4 < 2, "F", "M")})
    found = evaluate_external_cohort(table, QUICK, fitted, Covariates(cohort, clinical=("sex",)))
    assert found.subgroups.set_index("group")["auroc"].notna().to_dict() == {"F": True, "M": True}
    assert found.baselines["reason"].iloc[0] == "splits.csv is missing, so there are no patients to fit on"


def test_a_model_that_froze_nothing_is_refused(make_predictions):
    fitted = evaluate_table(make_predictions(), QUICK).fitted
    with pytest.raises(ValueError, match="nothing was frozen for fold-4-seed-0, got fold-0-seed-0"):
        evaluate_external_cohort(external_cohort(make_predictions, 0.0).assign(fold=4), QUICK, fitted)
