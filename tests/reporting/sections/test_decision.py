"""What validation froze, and models each by itself, as the experiment's page tells of them."""

import json

import pandas as pd

from pipeline.core.paths import Artifacts
from pipeline.evaluation.outputs import evaluate_task, write_evaluation
from pipeline.evaluation.settings import Settings
from tests.reporting.pages_made import experiment, predictions, words, write_run


def test_several_labels_a_scan_get_a_page_with_a_threshold_each(config):
    table = predictions().rename(columns={"prob_healthy": "prob_cyst"}).replace({"label": {"healthy": "cyst"}})
    table.loc[::3, "label"] = "cyst;disease"
    paths = Artifacts(config.root).run("made", "tiny")
    settings = Settings(task="multilabel", num_bootstrap=100)
    write_evaluation(evaluate_task(table, settings), paths)
    text = words(experiment(config))
    assert "cyst: The positive class is called from a probability of" in text
    assert "disease: Calibrated figures use" in text or "disease: Probabilities were not calibrated" in text
    assert "AUROC, disease" in text and "All labels right" in text


def test_what_was_frozen_on_validation_is_said_in_words(config):
    write_run(config, "tiny", predictions())
    text = words(experiment(config))
    run = Artifacts(config.root).run("made", "tiny")
    threshold = json.loads(run.evaluation.operating_point.read_text())["patient"]["threshold"]
    assert f"from a probability of {threshold:.3f}, chosen on validation for the best sum" in text
    low, high = json.loads(run.evaluation.conformal.read_text())["patient"]["expected_range"]["healthy"]
    assert f"Limits from so many patients keep between {low:.0%} and {high:.0%} of healthy" in text
    assert "Dots as predicted, rings after calibration" in text
    assert "Decision curve" in text and "would often be missed" in text


def test_what_was_frozen_for_the_mean_of_several_folds_is_said_to_be_approximate(config):
    folds = pd.concat([predictions().assign(fold=fold) for fold in range(2)])
    half = folds.groupby("split")["patient_id"].transform(lambda ids: pd.factorize(ids)[0] // 2 % 2)
    write_run(config, "tiny", folds[(folds["split"] == "test") | (half == folds["fold"])])
    text = words(experiment(config))
    assert "of the patients of each class; approximate, since each validation patient has one model's" in text
    assert "Limits from so many patients keep between" not in text
    operating = text[text.index("Each rule's threshold was chosen") : text.index("Each model by itself")]
    assert operating.count("approximate") == 4
