import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pipeline.evaluation.calibration import Calibration, fit_calibration
from pipeline.evaluation.metrics.calibration import brier_score, calibration_slope, log_loss, logit
from pipeline.evaluation.sample import Sample


def overconfident(patients: int, num_classes: int = 2, factor: float = 2.5, seed: int = 0) -> Sample:
    """True probabilities with their logits multiplied by `factor`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(patients, num_classes))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(num_classes, p=row) for row in true])
    stated = true**factor / (true**factor).sum(1, keepdims=True)
    return Sample(labels, stated, np.arange(patients), labels * 0, tuple("abcd"[:num_classes]))


@pytest.mark.parametrize(
    ("patients", "num_classes", "method"),
    [
        (39, 2, "none"),
        (40, 2, "temperature"),
        (100, 2, "platt"),
        (1000, 2, "isotonic"),
        (60, 3, "temperature"),
        (1000, 3, "vector"),
    ],
)
def test_the_number_of_patients_decides_the_method_and_is_said(patients, num_classes, method):
    fitted = fit_calibration(overconfident(patients, num_classes))
    assert fitted.method == method
    assert str(patients) in fitted.reason


def test_scans_of_few_patients_do_not_pass_for_many():
    sample = overconfident(300)
    assert fit_calibration(replace(sample, patients=np.arange(300) // 10)).method == "none"


@pytest.mark.parametrize("patients", [60, 300, 2000])
@pytest.mark.parametrize("num_classes", [2, 3])
def test_other_patients_are_better_described_after_calibration(patients, num_classes):
    fitted = fit_calibration(overconfident(patients, num_classes))
    fresh = overconfident(5000, num_classes, seed=1)
    corrected = replace(fresh, probs=fitted.apply(fresh.probs))
    assert corrected.probs.sum(1) == pytest.approx(1)
    for figure in (brier_score, log_loss):
        assert figure(corrected.weighted())[0] < figure(fresh.weighted())[0]


def test_a_temperature_finds_the_factor_that_was_put_in():
    fitted = fit_calibration(overconfident(99, 3))
    assert 1 / fitted.parameters["scale"][0] == pytest.approx(2.5, rel=0.35)


def test_platt_is_an_unpenalised_logistic_regression():
    sample = overconfident(400)
    scores = logit(sample.probs[:, 1])[:, None]
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(scores, sample.labels).predict_proba(scores)
    assert fit_calibration(sample).apply(sample.probs) == pytest.approx(reference, abs=1e-4)


def test_calibrated_validation_has_slope_one():
    sample = overconfident(400)
    corrected = replace(sample, probs=fit_calibration(sample).apply(sample.probs))
    assert calibration_slope(corrected.weighted())[0] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("patients", [60, 300, 2000])
def test_a_calibration_survives_json(patients):
    fitted = fit_calibration(overconfident(patients))
    again = Calibration(**json.loads(json.dumps(asdict(fitted))))
    probs = overconfident(50, seed=2).probs
    assert (again.apply(probs) == fitted.apply(probs)).all()


def test_one_class_in_validation_calibrates_nothing():
    sample = overconfident(400)
    fitted = fit_calibration(sample.select(sample.labels == 1))
    assert fitted.method == "none"
    assert "lacks a class" in fitted.reason
