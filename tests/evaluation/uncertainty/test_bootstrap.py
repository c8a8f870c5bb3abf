from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.evaluation.metrics.discrimination import auroc
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.uncertainty.bootstrap import bootstrap, draw_patients, patient_strata, resamples


def test_scans_of_a_patient_are_drawn_together(make_sample):
    sample = make_sample()
    for weighted in resamples(sample, 20, seed=0):
        for patient in range(sample.num_patients):
            drawn = weighted.weights[:, sample.patients == patient]
            assert (drawn == drawn[:, :1]).all()


def test_every_resample_keeps_the_patients_of_each_label_pattern_and_fold(make_sample):
    sample = make_sample(rows=200, num_folds=2)
    strata = patient_strata(sample)
    assert len(np.unique(strata)) == 4
    drawn = draw_patients(strata, 50, np.random.default_rng(0))
    for stratum in np.unique(strata):
        assert drawn[strata == stratum].sum(0) == pytest.approx((strata == stratum).sum())


def of_patterns(first: int, second: int, both: int) -> Sample:
    """So many patients with scans of the first class, of the second, and with one of each."""
    patients = np.concatenate([np.arange(first + second + both), np.arange(first + second, first + second + both)])
    labels = np.repeat([0, 1, 0, 1], [first, second, both, both])
    return Sample(labels, np.full((len(labels), 2), 0.5), patients, patients * 0, ("a", "b"))


def test_patients_with_scans_of_both_labels_are_a_stratum_of_their_own():
    assert sorted(np.bincount(patient_strata(of_patterns(20, 15, 10)))) == [10, 15, 20]


def test_few_patients_of_a_pattern_are_drawn_together_with_those_of_other_rare_ones():
    assert sorted(np.bincount(patient_strata(of_patterns(20, 8, 5)))) == [13, 20]


def test_folds_of_few_patients_are_mixed(make_sample):
    """Ten patients of a class over five folds would be strata of two, which show half of their variance."""
    labels, patients = np.arange(60) % 2, np.arange(60)
    sample = Sample(labels, np.full((60, 2), 0.5), patients, patients // 2 % 5, ("a", "b"))
    assert np.bincount(patient_strata(sample)).tolist() == [30, 30]
    assert len(np.unique(patient_strata(replace(sample, folds=patients // 2 % 3)))) == 6


@pytest.mark.parametrize("patients", [10, 40])
def test_resampled_means_spread_as_the_standard_error_says(patients):
    """Counting each draw once would lose a tenth of the variance of ten patients."""
    values = np.random.default_rng(0).normal(size=patients)
    means = values @ draw_patients(np.zeros(patients, int), 40_000, np.random.default_rng(1)) / patients
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
