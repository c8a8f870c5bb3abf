"""Nearest training scans on the experiment page, against scikit-learn's search."""

import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import NearestNeighbors

from pipeline.core.io import write_json
from pipeline.core.paths import Artifacts
from pipeline.reporting.sections import neighbors
from tests.reporting.example_pages import FIRST, experiment, predictions, text_of, write_cohort, write_run

SHA256 = "a" * 64


@pytest.fixture
def made(config):
    """A run with predictions of 60 validation and 60 test scans, and the features of these and of 40 training scans."""
    table = predictions()
    write_run(config, "tiny", table)
    train = table[:40].assign(scan_id=[f"t{k}" for k in range(40)], patient_id=[f"q{k // 2}" for k in range(40)])
    write_cohort(config, pd.concat([train.assign(split="train"), table]))
    run = Artifacts(config.root).run("made", "tiny")
    write_json(run.predicted_by(FIRST), {"checkpoint": SHA256})
    rows = pd.concat([train.assign(split="development", fold=1), table])[["scan_id", "patient_id", "split", "fold"]]
    rows["fold"] = rows["fold"].where(rows["split"] != "test").astype("Int64")
    rows["split"] = rows["split"].replace("val", "development")
    values = np.random.default_rng(0).normal(size=(len(rows), 4)) * [1, 50, 0.01, 0]
    features = rows.reset_index(drop=True).assign(**{f"feature_{k:04d}": values[:, k] for k in range(4)})
    return config, run.features(FIRST), features


def write(path, features: pd.DataFrame, checkpoint: str = SHA256) -> None:
    features.attrs = {"checkpoint_sha256": checkpoint}
    path.parent.mkdir(parents=True)
    features.to_parquet(path)


def test_each_test_scan_has_its_nearest_training_scans(made):
    config, path, features = made
    write(path, features)
    text = text_of(experiment(config))
    train = features[features["fold"] == 1].filter(like="feature_").iloc[:, :3]
    test = features[features["split"] == "test"]
    scaled = (test.filter(like="feature_").iloc[:, :3] - train.mean()) / train.std(ddof=0)
    search = NearestNeighbors(n_neighbors=3).fit((train - train.mean()) / train.std(ddof=0))
    distances, rows = search.kneighbors(scaled)
    distances /= np.sqrt(3)  # the fourth feature is constant
    label = {f"t{k}": "disease" if k % 3 == 0 else "healthy" for k in range(40)}
    for scan_id, near, away in zip(test["scan_id"], rows, distances, strict=True):
        cells = [f"t{k} ({label[f't{k}']}, {distance:.2f})" for k, distance in zip(near, away, strict=True)]
        assert f"{scan_id} " in text and " ".join(cells) in text
    assert "Test scans, those farthest from any training scan first" in text


def test_the_farthest_come_first_and_the_others_are_counted(made, monkeypatch):
    config, path, features = made
    far = features.index[features["scan_id"] == "s-test7"]
    features.loc[far, "feature_0001"] = 9e3
    write(path, features)
    monkeypatch.setattr(neighbors, "MAX_ROWS", 2)
    text = text_of(experiment(config))
    assert "The 2 test scans of 60 that are farthest" in text
    assert text.index("s-test7 healthy", text.index("Neighbor 3")) - text.index("Neighbor 3") < 20


def test_features_of_another_checkpoint_are_not_shown(made):
    config, path, features = made
    write(path, features, checkpoint="b" * 64)
    assert "Not available: features of every scan; 'python -m pipeline.embed --run FOLDER'" in text_of(
        experiment(config)
    )


def test_scans_of_one_patient_are_no_measure_of_what_is_usual():
    values = np.array([[0.0], [0.1], [5.0], [5.1]])
    assert neighbors.usual_distance(values, np.array(["a", "a", "b", "b"])) == pytest.approx(4.95)
