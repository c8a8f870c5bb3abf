"""The table of predictions that others see."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.core.paths import TrainingKey
from pipeline.store.store import Store
from pipeline.tracking.privacy import pseudonym, read_key
from pipeline.tracking.results import add_images, predicted_classes
from tests.tracking.offline import OfflineRun

RUN = Path("runs/cubes/tiny")


@pytest.mark.parametrize(
    ("probs", "thresholds", "called"),
    [
        ({"plain": 0.6, "cube": 0.4}, 0.35, {"cube"}),
        ({"plain": 0.4, "cube": 0.6}, 0.65, {"plain"}),
        ({"plain": 0.4, "cube": 0.6}, None, {"cube"}),
        ({"a": 0.2, "b": 0.5, "c": 0.3}, None, {"b"}),
        ({"a": 0.2, "b": 0.6, "c": 0.8}, {"a": 0.1, "b": 0.7, "c": 0.5}, {"a", "c"}),
    ],
)
def test_what_is_called_follows_the_frozen_thresholds(
    probs: dict[str, float], thresholds: dict[str, float] | float | None, called: set[str]
) -> None:
    assert predicted_classes(probs, thresholds) == called


@pytest.mark.slow
def test_the_table_of_predictions_has_pseudonyms_and_the_probabilities_of_the_file(
    finished: Path, run: OfflineRun
) -> None:
    expected, table = pd.read_csv(finished / RUN / "predictions/fold-0-seed-0.csv"), run.table("predictions")
    key = read_key(finished / ".pseudonym_key")
    assert table["scan_id"].tolist() == [pseudonym(name, key) for name in expected["scan_id"]]
    assert np.array_equal(table[["prob_plain", "prob_cube"]], expected[["prob_plain", "prob_cube"]])
    threshold = json.loads((finished / RUN / "evaluation/frozen/operating_point.json").read_text())["scan"]["threshold"]
    assert (table["is_correct"] == ((expected["prob_cube"] >= threshold) == (expected["label"] == "cube"))).all()


@pytest.mark.slow
def test_an_explanation_is_shown_beside_the_fold_whose_network_it_explains(finished: Path) -> None:
    store, explanations = Store(finished / "data/cubes/preprocessed"), finished / RUN / "explanations"
    ids = [caption["scan_id"] for caption in json.loads((explanations / "captions.json").read_text())]
    shown = {
        key.name: add_images(pd.DataFrame(index=ids), ids, store, explanations, key)["explanation"].notna().sum()
        for key in (TrainingKey(0, 0), TrainingKey(1, 0), TrainingKey(0, 1))
    }
    assert shown == {"fold-0-seed-0": 2, "fold-1-seed-0": 0, "fold-0-seed-1": 0}
