"""Metrics from the registry, those of this package and one from outside."""

import json
import sys

import pytest

from pipeline.config import load
from pipeline.core.paths import EvaluationPaths
from pipeline.evaluation.metrics import METRICS, metric_digits, metric_title, select_metrics
from pipeline.evaluation.outputs import evaluate_task, write_evaluation
from pipeline.evaluation.settings import Settings

PLUGIN = """
from pipeline.evaluation.metrics.decisions import sensitivity, specificity
from pipeline.evaluation.registry import METRICS, has_two_classes
from pipeline.evaluation.uncertainty.methods import Bootstrap


@METRICS.register(
    "youden_index",
    title="Youden's index",
    interval=Bootstrap((-1, 1)),
    applies=has_two_classes,
    needs_threshold=True,
    averaged=True,
    summary=True,
    digits=2,
)
def youden_index(weighted):
    return sensitivity(weighted) + specificity(weighted) - 1
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A module of the user's own, listed in a config; its metric is removed afterwards."""
    (tmp_path / "plugin_with_a_metric.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    load.import_plugins({"plugins": ["plugin_with_a_metric"]}, "config.yaml")
    yield
    METRICS._entries.pop("youden_index")
    sys.modules.pop("plugin_with_a_metric")


def test_a_metric_from_a_plugin_is_reported_with_its_interval_title_and_summary(plugin, make_predictions, tmp_path):
    settings = Settings(num_bootstrap=200)
    evaluation = evaluate_task(make_predictions(), settings)
    write_evaluation(evaluation, EvaluationPaths(tmp_path))
    metrics = json.loads(EvaluationPaths(tmp_path).metrics.read_text())["test"]["patient"]
    found = metrics["youden_index"]
    assert found["value"] == pytest.approx(metrics["sensitivity"]["value"] + metrics["specificity"]["value"] - 1)
    assert found["low"] < found["value"] < found["high"]
    assert json.loads(EvaluationPaths(tmp_path).summary.read_text())["test"]["youden_index"] == found["value"]
    assert (metric_title("youden_index_grade1"), metric_digits("youden_index")) == ("Youden's index, grade1", 2)


def test_a_metric_that_asks_for_two_classes_is_left_out_of_three(plugin, make_sample):
    assert "youden_index" not in select_metrics(make_sample(num_classes=3), Settings())
    assert "youden_index" in select_metrics(make_sample(), Settings())


def test_titles_name_what_a_metric_was_computed_again_after_and_for_which_class():
    assert metric_title("calibrated_brier_score") == "Brier score, calibrated"
    assert metric_title("recalibrated_accuracy") == "Accuracy, intercept refitted"
    assert metric_title("auroc_from_grade2") == "AUROC, this grade or above, grade2"
    assert metric_title("auroc_grade2") == "AUROC, grade2"
    assert metric_title("unheard_of") == "unheard_of"


def test_a_setting_reaches_the_metric_that_takes_it(make_sample):
    sample = make_sample()
    width, count = (
        select_metrics(sample, Settings(calibration_bins=bins))["expected_calibration_error"].fn(sample.weighted())[0]
        for bins in ("equal_width", "equal_count")
    )
    assert width != count
