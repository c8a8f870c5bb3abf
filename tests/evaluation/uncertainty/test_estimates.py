import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from statsmodels.stats.power import normal_power

from pipeline.evaluation.metrics.discrimination import auroc
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.uncertainty.estimates import (
    Estimate,
    bootstrap,
    draw_patients,
    minimum_detectable_auroc_difference,
    minimum_detectable_difference,
    resamples,
)


def test_the_smallest_difference_is_found_in_four_of_five_studies():
    """Against statsmodels, whose power is that of a standardized effect: difference over its standard error."""
    assert normal_power(minimum_detectable_difference(0.03) / 0.03, 1, 0.05) == pytest.approx(0.8, abs=1e-3)


def test_it_follows_the_width_of_the_interval_and_is_undefined_without_one():
    wide, narrow = (Estimate(0.8, 0.8 - half, 0.8 + half, 60) for half in (0.10, 0.05))
    assert minimum_detectable_auroc_difference(wide, 0.95).value == pytest.approx(
        2 * minimum_detectable_auroc_difference(narrow, 0.95).value
    )
    nothing = minimum_detectable_auroc_difference(Estimate(0.8, None, None, 12, "6 patients of a class"), 0.95)
    assert (nothing.value, nothing.reason) == (None, "the AUROC has no interval: 6 patients of a class")


def test_scans_of_a_patient_are_drawn_together(make_sample):
    sample = make_sample()
    for weighted in resamples(sample, 20, seed=0):
        for patient in range(sample.num_patients):
            drawn = weighted.weights[:, sample.patients == patient]
            assert (drawn == drawn[:, :1]).all()


def test_the_patients_of_a_class_vary_as_in_a_cohort():
    """Of 100 patients with 30 ill, a cohort's count of the ill has a standard deviation of 4.6."""
    labels = np.repeat([0, 1], [70, 30])
    sample = Sample(labels, np.full((100, 2), 0.5), np.arange(100), labels * 0, ("a", "b"))
    weights = np.concatenate([weighted.weights for weighted in resamples(sample, 4000, seed=0)])
    ill = weights[:, labels == 1].sum(1)
    assert weights.sum(1) == pytest.approx(100)
    assert ill.std() == pytest.approx(np.sqrt(100 * 0.3 * 0.7 * 100 / 99), rel=0.05)


@pytest.mark.parametrize("patients", [10, 40])
def test_resampled_means_spread_as_the_standard_error_says(patients):
    """Counting each draw once would lose a tenth of the variance of ten patients."""
    values = np.random.default_rng(0).normal(size=patients)
    means = values @ draw_patients(patients, 40_000, np.random.default_rng(1)) / patients
    assert means.var() == pytest.approx(values.var(ddof=1) / patients, rel=0.03)


def test_the_same_seed_gives_the_same_values_and_another_one_others(make_sample):
    sample = make_sample()
    first, again, other = (bootstrap(sample, {"auroc": auroc}, 30, seed)["auroc"] for seed in (5, 5, 6))
    assert (first == again).all()
    assert (first != other).any()


def test_resampled_values_are_those_of_a_loop_over_scikit_learn(make_sample):
    sample = make_sample()
    weights = np.concatenate([weighted.weights for weighted in resamples(sample, 40, seed=2)])
    expected = [roc_auc_score(sample.labels, sample.probs[:, 1], sample_weight=row) for row in weights]
    assert bootstrap(sample, {"auroc": auroc}, 40, seed=2)["auroc"] == pytest.approx(np.array(expected))
