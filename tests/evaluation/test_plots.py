import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_curve, roc_curve

from pipeline.evaluation.plots import plot_tables
from pipeline.evaluation.settings import Settings


def test_curves_are_those_of_scikit_learn(make_sample):
    sample = make_sample()
    plots = plot_tables(sample, None, Settings(num_bootstrap=100))
    false_positives, sensitivities, _ = roc_curve(sample.labels, sample.probs[:, 1], drop_intermediate=False)
    assert plots["roc"]["false_positive_rate"].tolist() == pytest.approx(false_positives)
    assert plots["roc"]["sensitivity"].tolist() == pytest.approx(sensitivities)
    precision, recall, thresholds = precision_recall_curve(sample.labels, sample.probs[:, 1])
    # scikit-learn goes up in thresholds and adds the point where nothing is called.
    assert plots["precision_recall"]["precision"].tolist() == pytest.approx(precision[-2::-1])
    assert plots["precision_recall"]["recall"].tolist() == pytest.approx(recall[-2::-1])
    assert plots["precision_recall"]["threshold"].tolist() == pytest.approx(thresholds[::-1])


def test_calibration_bins_are_those_of_scikit_learn_also_on_their_edges(make_sample):
    sample = make_sample(rows=300)
    assert np.isin(sample.probs[:, 1], np.linspace(0, 1, 11)).any()
    observed, predicted = calibration_curve(sample.labels, sample.probs[:, 1], n_bins=10)
    table = plot_tables(sample, None, Settings(num_bootstrap=100))["calibration"]
    assert table["observed"].tolist() == pytest.approx(observed)
    assert table["predicted"].tolist() == pytest.approx(predicted)
    assert ((table["low"] <= table["observed"]) & (table["observed"] <= table["high"])).all()


def test_each_fold_has_its_own_curve(make_sample):
    sample = make_sample(num_folds=3)
    roc = plot_tables(sample, None, Settings(num_bootstrap=100))["roc"]
    for fold, curve in roc.groupby("fold"):
        rows = sample.folds == fold
        false_positives, _, _ = roc_curve(sample.labels[rows], sample.probs[rows, 1], drop_intermediate=False)
        assert curve["false_positive_rate"].tolist() == pytest.approx(false_positives)


def test_calls_are_shown_at_a_threshold_or_not_at_all(make_sample):
    for threshold, num_rows in ((None, 0), (0.4, 90)):
        sample = make_sample(threshold=threshold)
        assert len(plot_tables(sample, None, Settings(num_bootstrap=100))["confusion"]) == num_rows


def test_no_table_names_anybody(make_sample):
    for table in plot_tables(make_sample(num_classes=3), None, Settings()).values():
        assert not {"scan_id", "patient_id"} & set(table.columns)
