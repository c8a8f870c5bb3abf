"""The experiment's page as a reader gets it, made from files through the public functions."""

import json

import numpy as np
import pandas as pd
import pytest

from pipeline.core.io import write_text, write_yaml
from pipeline.core.paths import Artifacts
from tests.reporting.pages_made import (
    FIRST,
    NASTY,
    experiment,
    index,
    predictions,
    read,
    words,
    write_cohort,
    write_run,
)


def test_a_page_of_metrics_alone_says_what_is_missing(config):
    write_run(config, "tiny", predictions())
    text = words(experiment(config))
    for verb in ("explain", "ingest", "plan", "train"):
        assert f"'python -m pipeline.{verb}'" in text


def test_the_headline_is_per_patient_with_interval_and_number(config):
    write_run(config, "tiny", predictions())
    metrics = json.loads(Artifacts(config.root).run("made", "tiny").evaluation.metrics.read_text())
    auroc = metrics["test"]["patient"]["auroc"]
    text = words(experiment(config))
    assert f"AUROC {auroc['value']:.3f} {auroc['low']:.3f} to {auroc['high']:.3f} 60 patients" in text
    assert "60 patients, 40 healthy, 20 disease" in text


def test_everything_known_is_shown(config):
    table = predictions()
    write_run(config, "tiny", table)
    write_cohort(config, table)
    run = Artifacts(config.root).run("made", "tiny")
    epochs = np.arange(5)
    history = pd.DataFrame({"epoch": epochs, "train_loss": 1.0, "val_loss": 1.0, "val_auroc": 0.6})
    write_text(run.training(FIRST).history, history.to_csv(index=False))
    source = {"kind": "folder", "scans": "/home/somebody/scans", "table": "~/somebody.csv"}
    used = {"name": "tiny", "model": {"name": "poolformer_s12"}, "root": "/home/somebody", "cohort": {"source": source}}
    write_yaml(run.training(FIRST).config, used)
    html = experiment(config)
    text = words(html)
    for phrase in (
        "121 scans",
        "excluded: TRUNCATED",
        "axial view",
        "No leak between splits",
        "validation AUROC",
        "name: tiny",
    ):
        assert phrase in text
    assert "somebody" not in html
    assert html.count("<svg") == 8
    assert "Not available: explanation maps" in text


def test_the_folds_of_repeats_count_among_those_that_can_be_trained(config):
    table = predictions()
    write_run(config, "tiny", table)
    write_cohort(config, table)
    assert "1 of 1 folds trained" in words(experiment(config))
    path = Artifacts(config.root).cohort("made").splits
    splits = pd.read_csv(path, dtype=str, keep_default_na=False)
    repeated = splits.assign(fold_1=np.where(splits["fold"] == "0", "1", ""))
    repeated.loc[repeated.index[repeated["fold"] == "0"][:3], "fold_1"] = "2"
    write_text(path, repeated.to_csv(index=False))
    assert "1 of 3 folds trained" in words(experiment(config))


def test_groups_are_shown_with_their_figure_and_small_ones_counted(config):
    write_run(config, "tiny", predictions())
    write_text(
        Artifacts(config.root).run("made", "tiny").evaluation.subgroups,
        "covariate,group,num_patients,auroc,low,high,p_value,adjusted_p_value,reason\n"
        "site,north,40,0.9,0.8,0.95,0.001,0.002,\nsite,south,40,0.6,0.5,0.7,0.001,0.002,\n"
        "site,west,4,,,,0.001,0.002,4 patients\n",
    )
    text = words(experiment(config))
    assert "The AUROC differs between groups of site. 1 groups have too few patients to judge." in text
    assert "site north 40 0.900 0.800 to 0.950 0.002" in text


def test_text_from_data_is_escaped(config):
    table = predictions().replace({"label": {"disease": NASTY}}).rename(columns={"prob_disease": f"prob_{NASTY}"})
    write_run(config, "tiny", table)
    write_cohort(config, table, site=NASTY)
    run = Artifacts(config.root).run("made", "tiny")
    caption = {
        "picture": "../../x.png",
        "map": "x.nii.gz",
        "scan_id": NASTY,
        "label": NASTY,
        "predicted": NASTY,
        "probability": 0.9,
        "method": "gradcam",
        "explained": "lesion",
    }
    write_text(run.explanations / "captions.json", json.dumps([caption]))
    html = experiment(config)
    assert "<script" not in html
    assert words(html).count(NASTY) > 3


def test_the_page_needs_nothing_else(config):
    write_run(config, "tiny", predictions())
    write_run(config, "other", predictions(seed=1))
    for link in read(experiment(config)).links + read(index(config)).links:
        assert link.startswith(("#", "data:")) or link in ("index.html", "cohort.html", "tiny.html", "other.html")


def test_a_picture_is_carried_in_the_page_and_a_lost_one_is_said(config):
    write_run(config, "tiny", predictions())
    folder = Artifacts(config.root).run("made", "tiny").explanations
    entries = [
        {
            "picture": name,
            "map": "m.nii.gz",
            "scan_id": name,
            "label": "disease",
            "predicted": "healthy",
            "probability": 0.9,
            "method": "gradcam",
            "explained": "lesion",
        }
        for name in ("there.png", "lost.png")
    ]
    write_text(folder / "captions.json", json.dumps(entries))
    (folder / "there.png").write_bytes(b"\x89PNG")
    html = experiment(config)
    assert "data:image/png;base64,iVBORw==" in html
    assert "Not available: the picture of this scan" in words(html)
    assert "truly disease (wrong)" in words(html)


def test_a_model_that_guesses_is_told_so(config):
    write_run(config, "tiny", predictions(signal=0.0, seed=2))
    text = words(experiment(config))
    assert "Not shown to beat chance" in text


def test_accuracy_below_the_floor_is_said_aloud(config):
    table = predictions(signal=0.2)
    write_run(config, "tiny", table)
    entries = json.loads(Artifacts(config.root).run("made", "tiny").evaluation.metrics.read_text())["test"]["patient"]
    assert entries["accuracy"]["value"] < entries["majority_baseline"]["value"]
    assert "Accuracy is below the baseline" in words(experiment(config))


def test_validation_alone_is_said_to_flatter(config):
    table = predictions()
    write_run(config, "tiny", table[table["split"] == "val"])
    assert "No test set was predicted" in words(experiment(config))


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
    text = words(experiment(config))
    assert "AUROC, three" in text
    assert "with several classes the most probable one is called" in text


def test_folds_and_seeds_are_shown_each_by_itself_with_their_spread(config):
    seeds = pd.concat([predictions(seed=seed).assign(seed=seed, label=predictions()["label"]) for seed in range(3)])
    write_run(config, "tiny", seeds)
    text = words(experiment(config))
    models = pd.read_csv(Artifacts(config.root).run("made", "tiny").evaluation.models)
    aurocs = models.loc[models["metric"] == "auroc", "value"]
    assert f"AUROCs of seeds go from {aurocs.min():.3f} to {aurocs.max():.3f}" in text
    assert "seed 2, fold 0" in text


def test_the_same_files_give_the_same_page(config):
    write_run(config, "tiny", predictions())
    assert experiment(config) == experiment(config)


def test_missing_metrics_say_who_writes_them(config):
    with pytest.raises(FileNotFoundError, match="pipeline.evaluate"):
        experiment(config)
