"""Whole pages, made from files through the public functions: complete, self-contained and escaped."""

import json

import numpy as np
import pandas as pd
import pytest

from pipeline.core.io import write_text, write_yaml
from pipeline.core.paths import Artifacts
from pipeline.reporting.inputs import CohortInputs
from tests.reporting.example_pages import (
    FIRST,
    UNSAFE,
    cohort_inputs,
    cohort_page,
    experiment,
    index,
    parse,
    predictions,
    text_of,
    write_cohort,
    write_run,
)


def test_a_page_of_metrics_alone_says_what_is_missing(config):
    write_run(config, "tiny", predictions())
    text = text_of(experiment(config))
    for verb in ("explain", "ingest", "plan", "train"):
        assert f"'python -m pipeline.{verb}'" in text


def test_every_available_input_is_shown(config):
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
    text = text_of(html)
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
    assert "1 of 1 folds trained" in text_of(experiment(config))
    path = Artifacts(config.root).cohort("made").splits
    splits = pd.read_csv(path, dtype=str, keep_default_na=False)
    repeated = splits.assign(fold_1=np.where(splits["fold"] == "0", "1", ""))
    repeated.loc[repeated.index[repeated["fold"] == "0"][:3], "fold_1"] = "2"
    write_text(path, repeated.to_csv(index=False))
    assert "1 of 3 folds trained" in text_of(experiment(config))


def test_text_from_data_is_escaped(config):
    table = predictions().replace({"label": {"disease": UNSAFE}}).rename(columns={"prob_disease": f"prob_{UNSAFE}"})
    write_run(config, "tiny", table)
    write_cohort(config, table, site=UNSAFE)
    run = Artifacts(config.root).run("made", "tiny")
    caption = {
        "picture": "../../x.png",
        "map": "x.nii.gz",
        "scan_id": UNSAFE,
        "label": UNSAFE,
        "predicted": UNSAFE,
        "probability": 0.9,
        "method": "gradcam",
        "explained": "lesion",
    }
    write_text(run.explanations / "captions.json", json.dumps([caption]))
    html = experiment(config)
    assert "<script" not in html
    assert text_of(html).count(UNSAFE) > 3


def test_pages_are_self_contained(config):
    write_run(config, "tiny", predictions())
    write_run(config, "other", predictions(seed=1))
    for link in parse(experiment(config)).links + parse(index(config)).links:
        assert link.startswith(("#", "data:")) or link in ("index.html", "cohort.html", "tiny.html", "other.html")


def test_the_cohort_page_is_self_contained_escaped_and_names_what_is_missing(tmp_path, store):
    table = cohort_inputs().table.assign(site=UNSAFE)
    html = cohort_page(cohort_inputs(table=table), store.folder)
    assert "<script" not in html and UNSAFE in text_of(html)
    assert all(link.startswith(("#", "data:")) or link == "index.html" for link in parse(html).links)
    empty = CohortInputs(table=None, ingest=None, splits=None, leakage=None, plan=None)
    for verb in ("ingest", "split", "preprocess"):
        assert f"'python -m pipeline.{verb}'" in text_of(cohort_page(empty, tmp_path / "nowhere"))


def test_the_same_files_give_the_same_page(config):
    write_run(config, "tiny", predictions())
    assert experiment(config) == experiment(config)


def test_missing_metrics_name_the_command_that_writes_them(config):
    with pytest.raises(FileNotFoundError, match="pipeline.evaluate"):
        experiment(config)
