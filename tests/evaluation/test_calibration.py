import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pipeline.evaluation.calibration import (
    Calibration,
    allowed_methods,
    cross_fit,
    fit_calibration,
    fit_platt,
    patient_parts,
)
from pipeline.evaluation.metrics.calibration import brier_score, calibration_slope, log_loss, logit
from pipeline.evaluation.sample import Sample


def overconfident(patients: int, num_classes: int = 2, factor: float = 2.5, seed: int = 0, shift: float = 0) -> Sample:
    """True probabilities with their logits multiplied by `factor`, and that of the last class moved by `shift`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(patients, num_classes))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(num_classes, p=row) for row in true])
    stated = true**factor * np.exp(shift * np.eye(num_classes)[-1])
    probs = stated / stated.sum(1, keepdims=True)
    return Sample(labels, probs, np.arange(patients), labels * 0, tuple("abcdefghijk"[:num_classes]))


@pytest.mark.parametrize(
    ("patients", "num_classes", "distortion", "method"),
    [
        (39, 2, {}, "none"),
        (60, 2, {}, "temperature"),
        (60, 2, {"factor": 1}, "identity"),
        (300, 2, {"shift": 2}, "platt"),
        (60, 3, {}, "temperature"),
        (300, 3, {"shift": 2}, "vector"),
    ],
)
def test_the_simplest_correction_that_patients_allow_and_held_out_ones_need_is_chosen_and_said(
    patients, num_classes, distortion, method
):
    fitted = fit_calibration(overconfident(patients, num_classes, **distortion))
    assert fitted.method == method
    assert str(patients) in fitted.reason


def test_a_curve_that_no_line_describes_is_fitted_from_a_thousand_patients():
    sample = overconfident(3000, factor=1)
    bent = 1 / (1 + np.exp(-3 * logit(sample.probs[:, 1]) ** 3))
    assert fit_calibration(replace(sample, probs=np.stack([1 - bent, bent], 1))).method == "isotonic"


def test_freedom_is_given_by_the_patients_of_the_rarest_class():
    """A thousand patients at 2 % are twenty events: a line, and no curve; ten of a class allow one number."""
    rare = np.repeat([0, 1], [980, 20])
    sample = replace(overconfident(1000), labels=rare)
    assert allowed_methods(sample) == ["identity", "temperature", "platt"]
    assert allowed_methods(replace(sample, labels=np.repeat([0, 1], [890, 110])))[-1] == "isotonic"
    assert allowed_methods(overconfident(100, 11)) == ["identity", "temperature"]
    few = fit_calibration(replace(sample, labels=np.repeat([0, 1], [991, 9])))
    assert few.method == "none" and "9 validation patients outside the commonest class" in few.reason


@pytest.mark.parametrize(("patients", "num_classes", "shift"), [(100, 11, 0), (100, 2, 0), (1000, 2, -4)])
def test_a_perfect_model_is_not_made_worse_beyond_chance(patients, num_classes, shift):
    """Vector scaling of eleven classes cost .18 of log loss, and a curve through twenty events .006."""
    costs = []
    for seed in range(12):
        validation, fresh = (perfect(patients, num_classes, shift, own) for own in (seed, 100 + seed))
        corrected = replace(fresh, probs=fit_calibration(validation).apply(fresh.probs))
        costs.append(log_loss(corrected.weighted())[0] - log_loss(fresh.weighted())[0])
    assert np.mean(costs) < 0.003


def perfect(patients: int, num_classes: int, shift: float, seed: int) -> Sample:
    """True probabilities; `shift` makes the last class rare."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(patients, num_classes)) + shift * np.eye(num_classes)[-1]
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(num_classes, p=row) for row in probs])
    return Sample(labels, probs, np.arange(patients), labels * 0, tuple("abcdefghijk"[:num_classes]))


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


def test_platt_is_an_unpenalised_logistic_regression_whose_own_patients_have_slope_one():
    sample = overconfident(400, shift=2)
    scores = logit(sample.probs[:, 1])[:, None]
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(scores, sample.labels).predict_proba(scores)
    corrected = fit_calibration(sample).apply(sample.probs)
    assert corrected == pytest.approx(reference, abs=1e-4)
    assert calibration_slope(replace(sample, probs=corrected).weighted())[0] == pytest.approx(1, abs=1e-3)


def test_held_out_patients_are_corrected_by_the_others_alone():
    """Another label of one patient changes the probabilities of all parts but its own."""
    sample = overconfident(200, shift=2)
    found, parts = cross_fit(sample, "platt"), patient_parts(sample)
    for part in range(5):
        others = fit_platt(sample.select(parts != part))
        assert found[parts == part] == pytest.approx(others.apply(sample.probs[parts == part]))
        assert np.bincount(sample.labels[parts == part]) == pytest.approx(np.bincount(sample.labels) / 5, abs=1)


def test_scans_of_a_patient_are_held_out_together():
    sample = replace(overconfident(200), patients=np.arange(200) // 2)
    assert len(patient_parts(sample)) == 100 and len(cross_fit(sample, "temperature")) == 200


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
