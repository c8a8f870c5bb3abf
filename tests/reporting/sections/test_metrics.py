"""All metrics on the experiment page, and what was frozen on validation."""

import json

import numpy as np
import pandas as pd

from pipeline.core.paths import Artifacts
from pipeline.evaluation.outputs import evaluate_task, write_evaluation
from pipeline.evaluation.settings import Settings
from tests.reporting.example_pages import experiment, predictions, text_of, write_run


def test_several_classes_get_a_page(config):
    rng = np.random.default_rng(0)
    truth = np.arange(90) % 3
    probs = rng.dirichlet(np.ones(3), size=90) / 2 + np.eye(3)[truth] / 2
    table = pd.DataFrame(
        {
            "scan_id": np.arange(90).astype(str),
            "patient_id": np.arange(90).astype(str),
            "label": np.array(["one", "two", "three"])[truth],
            **{f"prob_{name}": probs[:, k] for k, name in enumerate(["one", "two", "three"])},
        }
    )
    write_run(config, "tiny", table)
    text = text_of(experiment(config))
    assert "AUROC, three" in text
    assert "with several classes the most probable one is called" in text


def test_several_labels_per_scan_have_a_threshold_each(config):
    table = predictions().rename(columns={"prob_healthy": "prob_cyst"}).replace({"label": {"healthy": "cyst"}})
    table.loc[::3, "label"] = "cyst;disease"
    paths = Artifacts(config.root).run("made", "tiny").evaluation
    settings = Settings(task="multilabel", num_bootstrap=100)
    write_evaluation(evaluate_task(table, settings), paths)
    text = text_of(experiment(config))
    assert "cyst: The positive class is predicted from a probability of" in text
    assert "disease: Calibrated metrics use" in text or "disease: Probabilities were not calibrated" in text
    assert "AUROC, disease" in text and "All labels correct" in text


def test_what_was_frozen_on_validation_is_said_in_text_of(config):
    write_run(config, "tiny", predictions())
    text = text_of(experiment(config))
    run = Artifacts(config.root).run("made", "tiny").evaluation
    threshold = json.loads(run.operating_point.read_text())["patient"]["threshold"]
    assert f"from a probability of {threshold:.3f}, chosen on validation for the best sum" in text
    low, high = json.loads(run.conformal.read_text())["patient"]["expected_range"]["healthy"]
    assert f"Fitted on so few patients, they cover between {low:.0%} and {high:.0%} of healthy" in text
    assert "Dots as predicted, rings after calibration" in text
    assert "Decision curve" in text and "would often be missed" in text
