"""The table of methods: who trains, validates and is judged, and what a row says."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks import accuracy
from benchmarks.accuracy_cohorts import FOLDS, nested_folds, with_permuted_labels
from pipeline.core.folds import rows_of_fold, write_splits
from pipeline.core.io import write_json
from pipeline.core.paths import Artifacts

SPLITS = pd.DataFrame(
    {
        "scan_id": [f"s{number:02}" for number in range(48)],
        "patient_id": [f"p{number // 2:02}" for number in range(48)],
        "label": ["ill" if number // 2 % 2 else "fit" for number in range(48)],
        "split": ["development"] * 40 + ["test"] * 8,
        "fold": pd.array([number // 8 for number in range(40)] + [None] * 8, dtype="Int64"),
    }
)


def test_each_part_is_judged_once_by_a_training_that_has_never_seen_it_nor_the_locked_test_set() -> None:
    splits = nested_folds(SPLITS)
    judged = []
    for outer in range(FOLDS):
        rows = rows_of_fold(splits, accuracy.Trial("phantom", "any", outer, 0).fold)
        patients = {side: set(table["patient_id"]) for side, table in rows.items()}
        assert not patients["test"] & (patients["train"] | patients["val"]) and not patients["train"] & patients["val"]
        assert set(rows["test"]["fold"]) == {outer} and set(rows["val"]["fold"]) == {(outer + 1) % FOLDS}
        judged += rows["test"]["scan_id"].tolist()
    assert sorted(judged) == SPLITS.loc[SPLITS["split"] == "development", "scan_id"].tolist()


def test_an_official_split_without_folds_gets_five_that_keep_patients_whole_and_classes_even() -> None:
    official = SPLITS.assign(fold=pd.array([None] * 48, dtype="Int64"))
    splits = nested_folds(official)
    assert set(splits["scan_id"]) == set(official.loc[official["split"] == "development", "scan_id"])
    assert (splits.groupby("patient_id")["fold"].nunique() == 1).all()
    assert sorted(splits["fold"].unique()) == list(range(FOLDS))
    assert (splits[splits["label"] == "ill"].groupby("fold").size() == 4).all()


def test_permuted_labels_keep_one_label_a_patient_and_the_classes_of_each_fold() -> None:
    splits = nested_folds(SPLITS)
    permuted = with_permuted_labels(splits)
    assert (permuted.groupby("patient_id")["label"].nunique() == 1).all()
    assert permuted.groupby("fold")["label"].agg(sorted).equals(splits.groupby("fold")["label"].agg(sorted))
    assert (permuted["label"] != splits["label"]).mean() > 0.2


def write_trials(folder, method: str, noise: float, seeds=(0,)) -> pd.DataFrame:
    """Made-up scores of every held-out scan of `phantom`, some of them informative."""
    splits = nested_folds(SPLITS)
    found = []
    for outer in range(FOLDS):
        for seed in seeds:
            trial, rng = accuracy.Trial("phantom", method, outer, seed), np.random.default_rng([outer, seed])
            part = splits[splits["fold"] == outer]
            shift = (part["label"] == "ill") * 0.2 + 0.4
            table = part[["scan_id", "patient_id", "label"]].assign(
                score=np.clip(shift + noise * rng.normal(size=len(part)), 0, 1)
            )
            trial.path(folder).parent.mkdir(parents=True, exist_ok=True)
            table.to_csv(trial.path(folder), index=False)
            record = {"seconds": 2.0, "parameters": 7, "commit": "abc", "command": "python -m benchmarks.accuracy"}
            write_json(trial.path(folder).with_suffix(".json"), record)
            found.append(table.assign(fold=outer))
    return pd.concat(found)


@pytest.fixture
def folder(tmp_path):
    paths = Artifacts(tmp_path).cohort("phantom")
    paths.folder.mkdir(parents=True)
    write_splits(paths.splits, nested_folds(SPLITS))
    write_json(paths.ingest, {"classes": ["fit", "ill"], "num_scans": len(nested_folds(SPLITS))})
    pd.DataFrame({"scan_id": SPLITS["scan_id"], "file_sha256": "0"}).to_csv(paths.cohort, index=False)
    return tmp_path


def test_a_row_compares_patients_within_their_fold_and_pairs_them_with_monai(folder) -> None:
    scans = {name: write_trials(folder, name, noise) for name, noise in {"2d_frozen": 0.2, accuracy.MONAI: 0.4}.items()}
    table = accuracy.table_of(folder, [0]).set_index(["cohort", "method"])
    expected = {}
    for name, rows in scans.items():
        patients = rows.groupby(["fold", "patient_id", "label"], as_index=False)["score"].mean()
        # Every fold has as many pairs as the others.
        expected[name] = np.mean(
            [roc_auc_score(part["label"] == "ill", part["score"]) for _, part in patients.groupby("fold")]
        )
        assert table.loc[("phantom", name), "auroc"] == pytest.approx(expected[name], abs=1e-4)
    ours = table.loc[("phantom", "2d_frozen")]
    assert ours["minus_monai"] == pytest.approx(expected["2d_frozen"] - expected[accuracy.MONAI], abs=1e-4)
    assert ours["minus_monai_low"] < ours["minus_monai"] < ours["minus_monai_high"]
    assert ours["low"] < ours["auroc"] < ours["high"] and ours["num_patients"] == 20 and ours["status"] == "run"
    assert pd.isna(table.loc[("phantom", accuracy.MONAI), "minus_monai"])


def test_a_method_that_misses_a_part_or_a_seed_is_not_run(folder) -> None:
    write_trials(folder, "2d_frozen", 0.2, seeds=(0, 1))
    accuracy.Trial("phantom", "2d_frozen", 3, 1).path(folder).unlink()
    rows = accuracy.table_of(folder, [0, 1]).set_index(["cohort", "method"])
    assert set(rows["status"]) == {"not run"} and rows["auroc"].isna().all()
    assert (
        accuracy.table_of(folder, [0]).set_index(["cohort", "method"]).loc[("phantom", "2d_frozen"), "status"] == "run"
    )
    assert {method for cohort, method in rows.index if cohort == "hippocampus"} == set(accuracy.methods())


def test_a_trial_that_is_done_is_not_trained_again(folder) -> None:
    write_trials(folder, "2d_frozen", 0.2)
    trial = accuracy.Trial("phantom", "2d_frozen", 0, 0)
    before = trial.path(folder).stat().st_mtime_ns
    accuracy.Runs(folder, deadline=-1.0).run(trial)
    assert trial.path(folder).stat().st_mtime_ns == before
    with pytest.raises(SystemExit, match="goes on from here"):
        accuracy.Runs(folder, deadline=-1.0).run(accuracy.Trial("phantom", "3d_poolformer", 0, 0))


def test_predictions_of_other_scans_than_the_held_out_ones_are_refused(folder) -> None:
    trial = accuracy.Trial("phantom", "any", 1, 0)
    held_out = SPLITS[SPLITS["fold"] == 1]["scan_id"]
    assert accuracy.held_out_table(trial, folder, held_out[::-1], range(8))["score"].tolist() == list(range(7, -1, -1))
    with pytest.raises(ValueError, match="7 scans were predicted, expected the 8 of its part"):
        accuracy.held_out_table(trial, folder, held_out[:-1], range(7))
