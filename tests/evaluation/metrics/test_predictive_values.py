import numpy as np
import pytest
from sklearn.metrics import class_likelihood_ratios

from pipeline.evaluation.metrics import predictive_values, select_metrics
from pipeline.evaluation.metrics.decisions import negative_predictive_value, positive_predictive_value
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.estimates import estimate_metrics

RATIOS = ("positive_likelihood_ratio", "negative_likelihood_ratio")


def study(true_positives: int, missed: int, false_positives: int, passed: int) -> Sample:
    """One scan a patient, by the cells of the two-by-two table."""
    cells = (true_positives, missed, false_positives, passed)
    labels, called = np.repeat([1, 1, 0, 0], cells), np.repeat([1.0, 0.0, 1.0, 0.0], cells)
    patients = np.arange(len(labels))
    return Sample(labels, np.stack([1 - called, called], 1), patients, patients * 0, ("healthy", "lesion"), 0.5)


def found(sample: Sample, *names: str):
    settings = Settings(prevalence=0.2)
    metrics = select_metrics(sample, settings)
    return estimate_metrics(sample, {name: metrics[name] for name in names}, settings)


def test_likelihood_ratios_are_those_of_scikit_learn(make_sample):
    sample = make_sample(threshold=0.4)
    expected = class_likelihood_ratios(sample.labels, sample.preds)
    values = [getattr(predictive_values, name)(sample.weighted())[0] for name in RATIOS]
    assert values == pytest.approx(expected)


def test_predictive_values_follow_from_the_odds_and_the_likelihood_ratios():
    sample = study(30, 10, 20, 80)
    weighted = sample.weighted()
    # At 1 % prevalence: .75 * .01 / (.75 * .01 + .2 * .99).
    at_one_percent = predictive_values.positive_predictive_value_at_prevalence(weighted, 0.01)[0]
    assert at_one_percent == pytest.approx(0.0075 / (0.0075 + 0.198))
    own = 40 / 140
    at_own = [getattr(predictive_values, f"{name}_predictive_value_at_prevalence") for name in ("positive", "negative")]
    plain = [positive_predictive_value(weighted)[0], negative_predictive_value(weighted)[0]]
    assert [metric(weighted, own)[0] for metric in at_own] == pytest.approx(plain)


def test_a_likelihood_ratio_has_the_interval_of_its_logarithm_in_a_large_sample():
    """Simel, Samsa and Matchar, Journal of Clinical Epidemiology 1991;44:763-770."""
    estimates = found(study(3000, 1000, 1200, 4800), *RATIOS)
    reach = 1.96 * np.sqrt(1 / 3000 - 1 / 4000 + 1 / 1200 - 1 / 6000)
    positive, negative = (estimates[name] for name in RATIOS)
    assert (positive.low, positive.high) == pytest.approx((3.75 * np.exp(-reach), 3.75 * np.exp(reach)), rel=2e-3)
    reach = 1.96 * np.sqrt(1 / 1000 - 1 / 4000 + 1 / 4800 - 1 / 6000)
    ratio = 0.25 / 0.8
    assert (negative.low, negative.high) == pytest.approx((ratio * np.exp(-reach), ratio * np.exp(reach)), rel=2e-3)


def test_the_interval_at_a_prevalence_is_that_of_the_ratio_in_other_words():
    names = ("positive_likelihood_ratio", "positive_predictive_value_at_prevalence")
    ratio, predictive = found(study(30, 10, 20, 80), *names).values()
    odds = np.array([ratio.value, ratio.low, ratio.high]) * 0.2 / 0.8
    assert [predictive.value, predictive.low, predictive.high] == pytest.approx(odds / (1 + odds))


def test_without_a_false_positive_the_ratio_has_no_value_and_without_a_miss_no_interval():
    estimates = found(study(40, 0, 0, 60), *RATIOS)
    assert estimates["positive_likelihood_ratio"].value is None and estimates["positive_likelihood_ratio"].reason
    negative = estimates["negative_likelihood_ratio"]
    assert (negative.value, negative.low) == (0, None) and "0 or 1" in negative.reason
