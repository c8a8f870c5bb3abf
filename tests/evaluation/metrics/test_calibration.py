from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
import torch
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from pipeline.evaluation.metrics import calibration, select_metrics
from pipeline.evaluation.metrics.calibration import (
    brier_discrimination,
    brier_miscalibration,
    brier_score,
    brier_skill_score,
    brier_uncertainty,
    skill_rows,
)
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.estimates import estimate_metrics


def calibrated_sample(rows: int = 4000, distort: float = 1.0, shift: float = 0.0) -> Sample:
    """Labels drawn from the true probability; the stated one has its logit multiplied and moved."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=rows) * 1.5
    labels = (rng.random(rows) < 1 / (1 + np.exp(-logits))).astype(int)
    stated = 1 / (1 + np.exp(-(distort * logits + shift)))
    return Sample(labels, np.stack([1 - stated, stated], axis=1), np.arange(rows), labels * 0, ("a", "b"))


def test_binary_scores_match_scikit_learn(make_sample):
    sample = make_sample()
    assert calibration.brier_score(sample.weighted())[0] == pytest.approx(
        brier_score_loss(sample.labels, sample.probs[:, 1])
    )
    assert calibration.log_loss(sample.weighted())[0] == pytest.approx(
        log_loss(sample.labels, np.clip(sample.probs, 1e-7, 1)), abs=1e-6
    )


def test_the_brier_score_of_several_classes_sums_over_them(make_sample):
    sample = make_sample(num_classes=3)
    expected = ((sample.probs - np.eye(3)[sample.labels]) ** 2).sum(1).mean()
    assert calibration.brier_score(sample.weighted())[0] == pytest.approx(expected)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_expected_calibration_error_matches_torchmetrics(num_classes):
    rng = np.random.default_rng(1)
    probs = rng.dirichlet(np.ones(num_classes), size=500)
    labels = np.array([rng.choice(num_classes, p=row) for row in probs])
    sample = Sample(labels, probs, np.arange(500), labels * 0, tuple("abc"[:num_classes]))
    target = torch.tensor(labels)
    reference = (
        binary_calibration_error(torch.tensor(probs[:, 1]), target, n_bins=10)
        if num_classes == 2
        else multiclass_calibration_error(torch.tensor(probs), target, num_classes=3, n_bins=10)
    )
    assert calibration.expected_calibration_error(sample.weighted())[0] == pytest.approx(float(reference), abs=1e-6)


def test_slope_and_intercept_match_statsmodels_under_weights():
    sample = calibrated_sample(400, distort=1.7, shift=-0.4)
    weights = np.random.default_rng(2).integers(0, 3, size=(2, 400)).astype(float)
    scores = calibration.logit(sample.probs[:, 1])
    for row, slope, intercept in zip(
        weights,
        calibration.calibration_slope(sample.weighted(weights)),
        calibration.calibration_intercept(sample.weighted(weights)),
        strict=True,
    ):
        fitted = sm.GLM(sample.labels, sm.add_constant(scores), sm.families.Binomial(), freq_weights=row).fit()
        shifted = sm.GLM(sample.labels, np.ones(400), sm.families.Binomial(), freq_weights=row, offset=scores).fit()
        assert slope == pytest.approx(fitted.params[1], rel=1e-5)
        assert intercept == pytest.approx(shifted.params[0], rel=1e-5)


def test_a_calibrated_score_has_slope_one_and_a_distorted_one_says_by_how_much():
    assert calibration.calibration_slope(calibrated_sample().weighted())[0] == pytest.approx(1, abs=0.1)
    assert calibration.calibration_slope(calibrated_sample(distort=2.0).weighted())[0] == pytest.approx(0.5, abs=0.05)
    assert calibration.calibration_intercept(calibrated_sample(shift=1.0).weighted())[0] == pytest.approx(-1, abs=0.12)


def test_separated_classes_have_no_slope():
    labels = np.repeat([0, 1], 20)
    probs = np.where(labels, 0.8, 0.2) + np.linspace(0, 0.1, 40)
    sample = Sample(labels, np.stack([1 - probs, probs], 1), np.arange(40), labels * 0, ("a", "b"))
    assert np.isnan(calibration.calibration_slope(sample.weighted())[0])


def test_observed_over_expected_has_the_interval_of_a_mean_over_the_summed_probabilities():
    """Of a well calibrated large sample: the variance of the observed share over the expected one squared."""
    sample = calibrated_sample(4000, shift=0.6)
    found = estimated(sample, "observed_expected_ratio")
    observed, expected = sample.labels.mean(), sample.probs[:, 1].mean()
    assert found.value == pytest.approx(observed / expected) and found.value < 0.95
    ratio = (sample.labels - found.value * sample.probs[:, 1]) / expected
    reach = 1.96 * ratio.std(ddof=1) / np.sqrt(4000)
    assert (found.low, found.high) == pytest.approx((found.value - reach, found.value + reach), abs=3e-3)


def test_calibration_of_several_classes_is_that_of_each_against_the_rest(make_sample):
    sample = make_sample(rows=300, num_classes=3)
    names = ("observed_expected_ratio", "calibration_intercept", "calibration_slope")
    for k, class_name in enumerate(sample.class_names):
        for name in names:
            assert estimated(sample, f"{name}_{class_name}") == estimated(sample.against_rest(k), name)
    assert not set(names) & set(select_metrics(sample, Settings()))


def estimated(sample: Sample, name: str):
    metric = select_metrics(sample, Settings())[name]
    return estimate_metrics(sample, {name: metric}, Settings())[name]


def resampled(sample, seed=3):
    return sample.weighted(np.random.default_rng(seed).integers(0, 3, size=(4, len(sample.labels))).astype(float))


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_parts_add_up_to_the_score_in_every_resample(make_sample, num_classes):
    weighted = resampled(make_sample(num_classes=num_classes))
    parts = brier_miscalibration(weighted) - brier_discrimination(weighted) + brier_uncertainty(weighted)
    assert parts == pytest.approx(brier_score(weighted))
    assert (brier_miscalibration(weighted) >= -1e-12).all()
    assert (brier_discrimination(weighted) >= -1e-12).all()


def test_the_best_rising_curve_is_that_of_scikit_learn(make_sample):
    sample = make_sample()
    weighted = resampled(sample)
    for row, found in zip(weighted.weights, brier_miscalibration(weighted), strict=True):
        drawn = row > 0
        stated, happened, counts = sample.probs[drawn, 1], sample.labels[drawn], row[drawn]
        curve = IsotonicRegression().fit_transform(stated, happened, sample_weight=counts)
        expected = np.average((stated - happened) ** 2 - (curve - happened) ** 2, weights=counts)
        assert found == pytest.approx(expected)


def test_always_stating_the_share_of_the_class_has_uncertainty_alone(make_sample):
    sample = make_sample()
    share = sample.labels.mean()
    constant = replace(sample, probs=np.tile([1 - share, share], (len(sample.labels), 1))).weighted()
    assert brier_miscalibration(constant)[0] == pytest.approx(0)
    assert brier_discrimination(constant)[0] == pytest.approx(0)
    assert brier_uncertainty(constant)[0] == pytest.approx(share * (1 - share))


def test_a_monotone_distortion_costs_miscalibration_and_no_discrimination(make_sample):
    sample = make_sample()
    squeezed = replace(sample, probs=np.stack([1 - sample.probs[:, 1] ** 3, sample.probs[:, 1] ** 3], 1))
    assert brier_discrimination(squeezed.weighted())[0] == pytest.approx(brier_discrimination(sample.weighted())[0])
    assert brier_miscalibration(squeezed.weighted())[0] > brier_miscalibration(sample.weighted())[0] + 0.01


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_skill_score_is_what_the_model_takes_away_from_the_floor(make_sample, num_classes):
    sample = make_sample(num_classes=num_classes)
    shares = np.bincount(sample.labels) / len(sample.labels)
    floor = ((shares - np.eye(num_classes)[sample.labels]) ** 2).sum(1).mean()
    score = ((sample.probs - np.eye(num_classes)[sample.labels]) ** 2).sum(1).mean()
    assert brier_skill_score(sample.weighted())[0] == pytest.approx(1 - score / floor)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_what_a_row_adds_to_the_skill_score_is_its_slope_along_the_weight_of_the_row(make_sample, num_classes):
    sample, step = make_sample(num_classes=num_classes), 1e-5
    rows, value = skill_rows(sample), brier_skill_score(sample.weighted())[0]
    assert rows.mean() == pytest.approx(value)
    weights = np.ones((4, len(rows))) + step * len(rows) * np.eye(len(rows))[:4]
    assert (brier_skill_score(sample.weighted(weights)) - value) / step == pytest.approx(rows[:4] - value, rel=1e-2)
