"""The headline and its findings on the experiment page."""

import json

from pipeline.core.io import write_yaml
from pipeline.core.paths import Artifacts
from pipeline.reporting.findings import encoder_statements
from tests.reporting.example_pages import FIRST, experiment, predictions, text_of, write_run


def test_the_headline_is_per_patient_with_interval_and_number(config):
    write_run(config, "tiny", predictions())
    metrics = json.loads(Artifacts(config.root).run("made", "tiny").evaluation.metrics.read_text())
    auroc = metrics["test"]["patient"]["auroc"]
    text = text_of(experiment(config))
    assert f"AUROC {auroc['value']:.3f} {auroc['low']:.3f} to {auroc['high']:.3f} 60 patients" in text
    assert "60 patients, 40 healthy, 20 disease" in text


def test_a_model_that_guesses_is_not_shown_to_beat_chance(config):
    write_run(config, "tiny", predictions(signal=0.0, seed=2))
    text = text_of(experiment(config))
    assert "Not shown to beat chance" in text


def test_accuracy_below_its_baseline_is_a_warning(config):
    table = predictions(signal=0.2)
    write_run(config, "tiny", table)
    entries = json.loads(Artifacts(config.root).run("made", "tiny").evaluation.metrics.read_text())["test"]["patient"]
    assert entries["accuracy"]["value"] < entries["majority_baseline"]["value"]
    assert "Accuracy is below the baseline" in text_of(experiment(config))


def test_metrics_of_validation_alone_are_called_optimistic(config):
    table = predictions()
    write_run(config, "tiny", table[table["split"] == "val"])
    assert "No test set was predicted" in text_of(experiment(config))


def test_an_encoder_that_may_have_seen_the_patients_is_a_caution(config):
    write_run(config, "tiny", predictions())
    member = {"name": "resnet152", "pretrained": "encoder:ct"}
    stack = {"name": "stack", "options": {"members": {"a": member, "b": {"name": "random_conv3d"}}}}
    recorded = config.model_dump(mode="json")
    recorded["cohort"]["encoder_overlap"] = {"ct": "unknown"}
    write_yaml(Artifacts(config.root).run("made", "tiny").training(FIRST).config, recorded | {"model": stack})
    assert "The encoder ct was trained on patients, and whether some of these" in text_of(experiment(config))
    assert len(encoder_statements(recorded | {"model": member})) == 1
    recorded["cohort"]["encoder_overlap"] = {"ct": "none"}
    assert encoder_statements(recorded | {"model": member}) == encoder_statements(None) == []
