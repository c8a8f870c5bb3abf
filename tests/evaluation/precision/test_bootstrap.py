import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.evaluation.metrics.discrimination import auroc
from pipeline.evaluation.precision.bootstrap import bootstrap, draw_patients, patient_strata, resamples
from pipeline.evaluation.tables.sample import Sample


def test_scans_of_a_patient_are_drawn_together(make_sample):
    sample = make_sample()
    for weighted in resamples(sample, 20, seed=0):
        for patient in range(sample.num_patients):
            drawn = weighted.weights[:, sample.patients == patient]
            assert (drawn == drawn[:, :1]).all()


def test_every_resample_keeps_the_patients_of_each_label_pattern_and_fold(make_sample):
    sample = make_sample(num_folds=2)
    strata = patient_strata(sample)
    assert len(np.unique(strata)) == 4
    drawn = draw_patients(strata, 50, np.random.default_rng(0))
    for stratum in np.unique(strata):
        assert (drawn[strata == stratum].sum(0) == (strata == stratum).sum()).all()


def test_patients_with_scans_of_both_labels_are_a_stratum_of_their_own():
    labels, patients = np.array([0, 1, 0, 0, 1]), np.array([0, 0, 1, 2, 3])
    sample = Sample(labels, np.full((5, 2), 0.5), patients, patients[patients] * 0, ("a", "b"))
    strata = patient_strata(sample)
    assert strata[1] == strata[2]
    assert len({strata[0], strata[1], strata[3]}) == 3


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
