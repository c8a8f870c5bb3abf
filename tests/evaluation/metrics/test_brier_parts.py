from dataclasses import replace

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from pipeline.evaluation.metrics.brier_parts import (
    brier_discrimination,
    brier_miscalibration,
    brier_skill_score,
    brier_uncertainty,
    skill_rows,
)
from pipeline.evaluation.metrics.calibration import brier_score


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
