"""Multilabel and ordinal tasks from the label table to metrics, with the commands of a user."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import COHORT, Commands

pytestmark = pytest.mark.slow
FINDINGS = ("cube", "cube;rim", "none", "rim")
GRADES = ("low", "middle", "high")
RUN = Path("runs/cubes/tiny")


def run_all(project: Path, label: str, cohort: str) -> tuple[pd.DataFrame, dict]:
    """Predictions and metrics of the tiny experiment on another label of the same scans."""
    config = COHORT.replace("columns: {}", f"columns: {{label: {label}}}").replace("positive_class: cube", cohort)
    (project / "configs" / "cohorts" / "cubes.yaml").write_text(config)
    command = Commands(project)
    for verb in ("fetch", "ingest", "split", "plan", "preprocess"):
        command(verb)
    command("train", "tracking.mode=none", "training.max_epochs=1")
    command("predict")
    command("evaluate")
    metrics = json.loads((project / RUN / "evaluation" / "metrics.json").read_text())
    return pd.read_csv(project / RUN / "predictions" / "fold-0-seed-0.csv", keep_default_na=False), metrics


@pytest.fixture
def labeled(project: Path) -> Path:
    """The tiny project with two more columns of labels, one value a patient."""
    table = pd.read_csv(project / "cubes" / "labels.csv")
    number = table["patient_id"].str[1:].astype(int)
    table["findings"] = [FINDINGS[patient % 4] for patient in number]
    table["grade"] = [GRADES[patient % 3] for patient in number]
    table.to_csv(project / "cubes" / "labels.csv", index=False)
    return project


def test_multilabel_predicts_and_evaluates_each_class_separately(labeled: Path) -> None:
    predictions, metrics = run_all(labeled, "findings", "task: multilabel")
    assert set(predictions["label"]) == set(FINDINGS)
    probs = predictions[["prob_cube", "prob_rim"]].to_numpy()
    assert (probs > 0).all() and (probs < 1).all() and not np.allclose(probs.sum(1), 1, atol=1e-3)
    assert {"auroc_cube", "auroc_rim"} <= set(metrics["test"]["patient"])


def test_ordinal_classes_have_one_distribution_and_an_ordered_metric(labeled: Path) -> None:
    predictions, metrics = run_all(labeled, "grade", f"task: ordinal\nclasses: [{', '.join(GRADES)}]")
    columns = [name for name in predictions if name.startswith("prob_")]
    assert columns == [f"prob_{grade}" for grade in GRADES]
    assert np.allclose(predictions[columns].sum(axis=1), 1)
    assert "quadratic_kappa" in metrics["test"]["patient"]
