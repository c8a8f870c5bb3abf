import numpy as np
import pytest
from scipy.stats import beta

from pipeline.evaluation.conformal import conformal_metrics, coverage_range, fit_conformal, num_outside
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.estimates import estimate_metrics


def drawn(patients: int, seed: int, signal: float = 1.5, num_classes: int = 2) -> Sample:
    rng = np.random.default_rng(seed)
    labels = np.arange(patients) % num_classes
    logits = rng.normal(size=(patients, num_classes)) + signal * np.eye(num_classes)[labels]
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    names = tuple(f"class{k}" for k in range(num_classes))
    return Sample(labels, probs, np.arange(patients), labels * 0, names)


@pytest.mark.parametrize(("slack", "patients"), [(0.1, 22), (0.05, 102), (0.01, 2491), (0.005, 9812)])
def test_the_spread_of_coverage_is_the_published_one(slack, patients):
    """Angelopoulos and Bates (arXiv:2107.07511, table 1): validation patients that keep 90 % coverage to within this
    slack nine times in ten."""
    assert within(slack, patients) >= 0.9 - 0.001
    low, high = coverage_range(patients, 0.9, within=0.9)
    assert high - low == pytest.approx(2 * slack, rel=0.15)


def within(slack: float, patients: int) -> float:
    outside = num_outside(patients, 0.9)
    spread = beta(patients + 1 - outside, outside)
    return float(spread.cdf(0.9 + slack) - spread.cdf(0.9 - slack))


@pytest.mark.parametrize("num_classes", [2, 3])
def test_each_class_is_covered_as_promised_on_average(num_classes):
    held = []
    for seed in range(200):
        conformal = fit_conformal(drawn(30 * num_classes, seed, num_classes=num_classes), 0.9)
        fresh = drawn(300 * num_classes, 1000 + seed, num_classes=num_classes)
        in_set = conformal.sets(fresh)[np.arange(len(fresh.labels)), fresh.labels]
        held.append([in_set[fresh.labels == k].mean() for k in range(num_classes)])
    # At least the promise, and by the theory at most 1 / (n + 1) above it; 200 studies blur it by about 0.01.
    assert np.mean(held, axis=0) == pytest.approx(0.9 + 0.5 / 31, abs=0.5 / 31 + 0.012)


def test_a_better_model_abstains_less_at_the_same_coverage():
    shares = []
    for signal in (0.2, 1.0, 2.0):
        metrics = conformal_metrics(fit_conformal(drawn(200, 0, signal), 0.9))
        found = estimate_metrics(drawn(400, 1, signal), metrics, Settings())
        shares.append(found["conformal_abstention_rate"].value)
        assert found["conformal_coverage"].low <= 0.9 <= found["conformal_coverage"].high + 0.05
    assert shares[0] > shares[1] > shares[2]


def test_few_patients_of_a_class_get_no_sets_and_the_reason():
    sample = drawn(60, 0)
    thinned = sample.select((sample.labels == 0) | (np.arange(60) < 36))
    assert (
        "18 validation patients of class 'class1', sets of coverage 0.9 need 20" in fit_conformal(thinned, 0.9).reason
    )
    assert "need 40 a class" in fit_conformal(sample, 0.95).reason
    assert fit_conformal(drawn(80, 0), 0.95).reason is None


@pytest.mark.parametrize(("coverage", "needed"), [(0.98, 49), (0.99, 99)])
def test_a_coverage_that_leaves_nobody_outside_takes_more_patients(coverage, needed):
    """With n patients the limit is that of rank (n + 1)(1 - coverage), which must be 1 at least."""
    for count, reason in ((needed - 1, f"sets of coverage {coverage} need {needed} a class"), (needed, None)):
        fitted = fit_conformal(drawn(2 * count, 0), coverage)
        assert reason in fitted.reason if reason else fitted.reason is None
    sample = drawn(2 * needed, 0)
    assert fitted.limits["class1"] == sample.probs[sample.labels == 1, 1].min()


def test_limits_for_the_mean_of_several_models_promise_no_range():
    """A validation patient has one model's probability, a test patient the mean of five, which is less extreme."""
    one, five = (fit_conformal(drawn(100, 0), 0.9, num_models=count) for count in (1, 5))
    assert five.limits == one.limits and one.caveat is None
    assert five.expected_range == {} and "approximate" in five.caveat and "mean of 5" in five.caveat


def test_several_scans_a_patient_get_no_sets():
    sample = drawn(100, 0)
    twice = Sample(sample.labels, sample.probs, np.arange(100) // 2 * 1, sample.folds, sample.class_names)
    assert "one row per patient" in fit_conformal(twice, 0.9).reason
    assert fit_conformal(None, 0.9).reason == "no validation rows"
