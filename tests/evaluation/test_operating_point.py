from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from pipeline.evaluation.metrics.decisions import sensitivity, specificity
from pipeline.evaluation.operating_point import choose_operating_point
from pipeline.evaluation.settings import Settings


def rates_at(sample, threshold):
    judged = replace(sample, threshold=threshold).weighted()
    return sensitivity(judged)[0], specificity(judged)[0]


def test_youden_reaches_the_best_sum_on_the_roc_curve(make_sample):
    sample = make_sample()
    false_positive_rate, true_positive_rate, _ = roc_curve(sample.labels, sample.probs[:, 1])
    point = choose_operating_point(sample, Settings(), 2)
    assert sum(rates_at(sample, point.threshold)) - 1 == pytest.approx((true_positive_rate - false_positive_rate).max())


@pytest.mark.parametrize(("rule", "kept"), [("sensitivity", 0), ("specificity", 1)])
def test_a_target_is_kept_at_the_least_cost_to_the_other(make_sample, rule, kept):
    sample = make_sample()
    settings = Settings(operating_point=rule, operating_target=0.8)
    found = rates_at(sample, choose_operating_point(sample, settings, 2).threshold)
    assert found[kept] >= 0.8
    every = [rates_at(sample, threshold) for threshold in np.linspace(0, 1, 1001)]
    assert found[1 - kept] == pytest.approx(max(rates[1 - kept] for rates in every if rates[kept] >= 0.8))


def test_dearer_misses_lower_the_threshold(make_sample):
    sample = make_sample()
    thresholds = [
        choose_operating_point(sample, Settings(operating_point="cost", miss_cost=cost), 2).threshold
        for cost in (0.1, 1, 10)
    ]
    assert thresholds == sorted(thresholds, reverse=True)
    assert thresholds[0] > thresholds[-1]


def test_a_strict_target_needs_forty_patients(make_sample):
    settings = Settings(operating_point="sensitivity", operating_target=0.95)
    point = choose_operating_point(make_sample(rows=60), settings, 2)
    assert point.threshold is None
    assert "needs 40 validation patients of class 'class1'" in point.reason


def test_without_validation_even_odds_are_used_and_said():
    point = choose_operating_point(None, Settings(), 2)
    assert point.threshold == 0.5
    assert "no validation rows" in point.reason


def test_validation_with_few_of_a_class_or_none_cannot_choose(make_sample):
    sample = make_sample()
    first = np.unique(sample.patients[sample.labels == 1])[:9]
    few = sample.select((sample.labels == 0) | np.isin(sample.patients, first))
    for validation, count in ((few, 9), (sample.select(sample.labels == 0), 0)):
        point = choose_operating_point(validation, Settings(), 2)
        assert (point.rule, point.threshold) == ("default", 0.5)
        assert point.reason == f"{count} validation patients of class 'class1', a threshold needs 10 of each"
