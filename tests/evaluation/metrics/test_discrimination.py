import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from pipeline.evaluation.metrics.discrimination import auroc, average_precision, class_auroc
from pipeline.evaluation.sample import Sample

FIGURES = [(auroc, roc_auc_score), (average_precision, average_precision_score)]


@pytest.mark.parametrize(("figure", "reference"), FIGURES)
@pytest.mark.parametrize("seed", range(5))
def test_binary_figures_match_scikit_learn_with_ties(make_sample, figure, reference, seed):
    sample = make_sample(seed)
    assert figure(sample.weighted())[0] == pytest.approx(reference(sample.labels, sample.probs[:, 1]))


@pytest.mark.parametrize(("figure", "reference"), FIGURES)
def test_figures_of_several_classes_are_the_mean_of_one_against_the_rest(make_sample, figure, reference):
    sample = make_sample(num_classes=4)
    expected = np.mean([reference(sample.labels == k, sample.probs[:, k]) for k in range(4)])
    assert figure(sample.weighted())[0] == pytest.approx(expected)


@pytest.mark.parametrize(("figure", "reference"), FIGURES)
def test_weights_count_rows_as_scikit_learn_does(make_sample, figure, reference):
    sample = make_sample()
    weights = np.random.default_rng(1).integers(0, 4, size=(3, len(sample.labels))).astype(float)
    expected = [reference(sample.labels, sample.probs[:, 1], sample_weight=row) for row in weights]
    assert figure(sample.weighted(weights)) == pytest.approx(np.array(expected))


def test_folds_are_combined_by_their_number_of_pairs(make_sample):
    sample = make_sample(num_folds=3)
    parts = [sample.select(sample.folds == fold) for fold in range(3)]
    pairs = [(part.labels == 1).sum() * (part.labels == 0).sum() for part in parts]
    aurocs = [roc_auc_score(part.labels, part.probs[:, 1]) for part in parts]
    assert auroc(sample.weighted())[0] == pytest.approx(np.average(aurocs, weights=pairs))


def test_a_shift_between_folds_changes_nothing(make_sample):
    sample = make_sample(num_folds=2)
    shifted = sample.probs.copy()
    shifted[sample.folds == 1] = shifted[sample.folds == 1] * [1, 0.1] + [0, 0]
    moved = Sample(sample.labels, shifted, sample.patients, sample.folds, sample.class_names)
    assert auroc(moved.weighted())[0] == pytest.approx(auroc(sample.weighted())[0])


def test_one_class_alone_is_undefined(make_sample):
    sample = make_sample()
    assert np.isnan(auroc(sample.select(sample.labels == 1).weighted())[0])
    assert np.isnan(average_precision(sample.select(sample.labels == 0).weighted())[0])


scores = st.lists(st.integers(0, 20), min_size=4, max_size=40)


@settings(max_examples=60, deadline=None)
@given(scores, st.randoms(use_true_random=False))
def test_auroc_ignores_monotone_rescaling_and_inverts_with_the_scores(values, random):
    probs = np.array(values) / 20
    labels = np.array([random.random() < 0.5 for _ in values]).astype(int)
    labels[:2] = 0, 1

    def value(column):
        rows = np.arange(len(labels))
        return class_auroc(
            Sample(labels, np.stack([1 - column, column], axis=1), rows, rows * 0, ("a", "b")).weighted(), 1
        )[0]

    assert value(probs**3 / 2) == pytest.approx(value(probs))
    assert value(1 - probs) == pytest.approx(1 - value(probs))
