"""The interval of each kind of metric, from the registry, against independent references."""

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm

from pipeline.evaluation.metrics import select_metrics
from pipeline.evaluation.metrics.calibration import logit
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.estimates import Estimate, estimate_metrics

QUICK = Settings(num_bootstrap=200)


def clustered(patients: int, copies: int = 1) -> Sample:
    """Patients with one to three scans, each scan given `copies` times."""
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(patients), rng.integers(1, 4, patients))
    labels = (rng.random(patients) < 0.4).astype(int)[ids]
    scores = rng.normal(size=patients)[ids] + 0.5 * rng.normal(size=len(ids)) + labels
    probs = np.repeat(1 / (1 + np.exp(-(0.8 * scores - 0.7))), copies)
    ids, labels = np.repeat(ids, copies), np.repeat(labels, copies)
    return Sample(labels, np.stack([1 - probs, probs], 1), ids, ids * 0, ("well", "ill"), threshold=0.4)


def found(sample: Sample, *names: str) -> dict[str, Estimate]:
    metrics = select_metrics(sample, QUICK)
    return estimate_metrics(sample, {name: metrics[name] for name in names}, QUICK)


def test_calibration_has_the_intervals_of_a_regression_with_errors_clustered_by_patient():
    sample = clustered(3000)
    scores = logit(sample.probs[:, 1])
    robust = {"cov_type": "cluster", "cov_kwds": {"groups": sample.patients}}
    slope = sm.GLM(sample.labels, sm.add_constant(scores), sm.families.Binomial()).fit(**robust)
    shift = sm.GLM(sample.labels, np.ones(len(scores)), sm.families.Binomial(), offset=scores).fit(**robust)
    expected = {"calibration_slope": slope.conf_int()[1], "calibration_intercept": shift.conf_int()[0]}
    for name, estimate in found(sample, *expected).items():
        assert estimate.high - estimate.low == pytest.approx(np.diff(expected[name])[0], rel=0.01), name
        assert estimate.low == pytest.approx(expected[name][0], abs=0.002), name


def test_copies_of_scans_change_no_interval_of_a_mean_or_a_regression():
    names = ("brier_score", "log_loss", "calibration_slope", "calibration_intercept")
    once, thrice = found(clustered(60), *names), found(clustered(60, copies=3), *names)
    for name in names:
        expected = (once[name].value, once[name].low, once[name].high)
        assert (thrice[name].value, thrice[name].low, thrice[name].high) == pytest.approx(expected, rel=1e-6), name


def test_agreement_that_rests_on_few_patients_has_no_interval():
    sample = replace(clustered(60), threshold=0.72)
    assert 0 < sample.count_patients(sample.preds == 1) < 10
    for name, estimate in found(sample, "kappa", "mcc").items():
        assert estimate.value is not None and estimate.low is None, name
        assert "patients predicted other than well, an interval needs 10" in estimate.reason
