"""Calibration curves, in bins and smooth, against scikit-learn and statsmodels."""

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.calibration import calibration_curve

from pipeline.evaluation.calibration_curve import smooth_calibration, smooth_calibration_table, spline_basis
from pipeline.evaluation.curves import plot_tables
from pipeline.evaluation.metrics.calibration import logit
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.settings import Settings


def distorted(patients: int, scans: int = 1, factor: float = 2.0, seed: int = 0) -> Sample:
    """Patients whose stated logit is `factor` times the true one, each scan with a label drawn from the truth."""
    rng = np.random.default_rng(seed)
    owners = np.repeat(np.arange(patients), scans)
    truth = rng.normal(size=patients)[owners] + 0.3 * rng.normal(size=len(owners)) - 0.4
    labels = (rng.random(len(owners)) < 1 / (1 + np.exp(-truth))).astype(int)
    stated = 1 / (1 + np.exp(-factor * truth))
    return Sample(labels, np.stack([1 - stated, stated], 1), owners, owners * 0, ("well", "ill"))


def test_calibration_bins_are_those_of_scikit_learn_also_on_their_edges(make_sample):
    sample = make_sample(rows=300)
    assert np.isin(sample.probs[:, 1], np.linspace(0, 1, 11)).any()
    observed, predicted = calibration_curve(sample.labels, sample.probs[:, 1], n_bins=10)
    table = plot_tables(sample, None, Settings(num_bootstrap=100))["calibration"]
    assert table["observed"].tolist() == pytest.approx(observed)
    assert table["predicted"].tolist() == pytest.approx(predicted)
    assert ((table["low"] <= table["observed"]) & (table["observed"] <= table["high"])).all()


@pytest.mark.parametrize("scans", [1, 3])
def test_the_smooth_curve_and_its_band_are_those_of_a_spline_regression_clustered_by_patient(scans):
    sample, points = distorted(4000 // scans, scans), np.array([0.1, 0.4, 0.8])
    scores = logit(sample.probs[:, 1])
    knots = np.quantile(scores, (0.1, 0.5, 0.9))
    robust = {"cov_type": "cluster", "cov_kwds": {"groups": sample.patients}}
    model = sm.GLM(sample.labels, spline_basis(scores, knots), sm.families.Binomial()).fit(**robust)
    expected = model.get_prediction(spline_basis(logit(points), knots)).summary_frame()
    found = smooth_calibration(sample, points, 0.95)
    assert found["observed"].tolist() == pytest.approx(expected["mean"].tolist(), abs=1e-6)
    assert found["low"].tolist() == pytest.approx(expected["mean_ci_lower"].tolist(), abs=0.003)
    assert found["high"].tolist() == pytest.approx(expected["mean_ci_upper"].tolist(), abs=0.003)


def test_the_spline_is_linear_outside_its_knots_and_smooth_at_them():
    knots, ends = np.array([-1.0, 0.0, 2.0]), np.array([[-5.0, -4.0, -3.0], [3.0, 4.0, 5.0]])
    for part in ends:
        assert np.diff(spline_basis(part, knots), n=2, axis=0) == pytest.approx(0, abs=1e-9)
    near = np.array([-1e-4, 0, 1e-4])
    assert np.diff(spline_basis(near, knots)[:, 2], n=2) == pytest.approx(0, abs=1e-7)


def test_an_overconfident_model_has_a_curve_that_is_flatter_than_the_diagonal():
    found = smooth_calibration(distorted(3000), np.array([0.05, 0.95]), 0.95)
    assert found["low"][0] > 0.05 and found["high"][1] < 0.95


def test_the_band_ends_where_no_patient_of_a_class_is_expected_any_more():
    sample = distorted(200, factor=1.0)
    outcome = sample.probs[:, 1]
    rare, common = np.array([1e-4, 1 - 1e-4]), np.array([0.3, 0.6])
    found = smooth_calibration(sample, np.concatenate([rare, common]), 0.95)
    assert outcome.min() > rare[0] and outcome.max() < rare[1]
    assert found["observed"].notna().all() and found["low"].isna().tolist() == [True, True, False, False]
    assert found["reason"][:2].str.contains("under one patient").all() and found["reason"][2:].isna().all()


def test_several_classes_have_a_curve_each_and_what_has_none_says_why(make_sample):
    found = smooth_calibration_table(make_sample(rows=300, num_classes=3), Settings())
    assert found["class"].unique().tolist() == ["class0", "class1", "class2"]
    assert found["observed"].notna().all() and (found["low"].isna() == found["reason"].notna()).all()
    assert (found["low"] < found["observed"])[found["low"].notna()].all()
    few = smooth_calibration_table(make_sample(rows=20), Settings())
    assert few["observed"].isna().all() and "an interval needs 10" in few["reason"][0]
    separated = Sample(
        np.repeat([0, 1], 20), np.eye(2)[np.repeat([0, 1], 20)] * 0.6 + 0.2, *np.zeros((2, 40), int), ("a", "b")
    )
    apart = Sample(separated.labels, separated.probs, np.arange(40), separated.folds, ("a", "b"))
    assert smooth_calibration_table(apart, Settings())["reason"].tolist() == ["the classes are separated"]
