"""Nested and repeated cv_parts as a whole."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from pipeline.core.paths import EvaluationPaths
from pipeline.evaluation.cross_validation import evaluate_cross_validation
from pipeline.evaluation.evaluate import evaluate_predictions
from pipeline.evaluation.outputs import read_fitted, write_evaluation
from pipeline.evaluation.settings import Settings
from tests.evaluation.test_cv_design import NESTED, REPEATED, predictions

QUICK, MANY = Settings(num_bootstrap=400), Settings(num_bootstrap=4000)


def told(settings, patients: int = 90, noise: float = 1.0) -> pd.DataFrame:
    """What folds hold out, by models that know something and differ by `noise`."""
    table = predictions(settings, patients=patients)
    rng, strength = np.random.default_rng(0), np.random.default_rng(1).normal(size=patients)
    number = table["scan_id"].str.removeprefix("s").astype(int).to_numpy()
    logits = 1.5 * (table["label"] == "b") - 0.75 + strength[number] + noise * rng.normal(size=len(table))
    prob = 1 / (1 + np.exp(-logits))
    return table.assign(prob_a=1 - prob, prob_b=prob)


def partitions_of(table: pd.DataFrame, groups: list[list[int]]) -> list[pd.DataFrame]:
    return [table[table["fold"].isin(folds)] for folds in groups]


def test_a_figure_of_repeats_is_the_mean_of_theirs():
    table = told(REPEATED)
    found = evaluate_cross_validation(table, QUICK).metrics
    for split in ("val", "test"):
        own = [
            evaluate_predictions(rows, QUICK)[split]["patient"] for rows in partitions_of(table, [[0, 1, 2], [3, 4, 5]])
        ]
        for name in ("auroc", "average_precision", "accuracy", "balanced_accuracy", "brier_score"):
            entry = found[split]["patient"][name]
            assert entry["value"] == pytest.approx(np.mean([each[name]["value"] for each in own]))
            assert (
                entry["low"] < entry["value"] < entry["high"] and entry["num_patients"] == own[0][name]["num_patients"]
            )


def test_repeats_that_all_say_the_same_do_not_narrow_the_interval():
    """Taken for new patients they would, by the square root of two."""
    table = told(REPEATED)
    first = table[table["fold"] < 3]
    again = pd.concat([first, first.assign(fold=first["fold"] + 3)], ignore_index=True)
    once = evaluate_predictions(first, MANY)["val"]["patient"]
    twice = evaluate_cross_validation(again, MANY).metrics["val"]["patient"]
    # Those that a single repeat resamples too; its AUROC and shares have intervals of another kind.
    for name in ("average_precision", "mcc"):
        assert twice[name]["value"] == pytest.approx(once[name]["value"]), name
        widths = [entry[name]["high"] - entry[name]["low"] for entry in (once, twice)]
        assert widths[1] == pytest.approx(widths[0], rel=0.1), name


def test_outer_parts_are_laid_side_by_side_each_at_its_own_threshold():
    """Every patient is tested once, ranked among those of its part, and called at the threshold of its part."""
    table = told(NESTED)
    found = evaluate_cross_validation(table, QUICK)
    pairs, wins, calls, truth = 0, 0.0, [], []
    for rows, (name, fitted) in zip(
        partitions_of(table, [[0, 1], [2, 3], [4, 5]]), found.fitted["patient"].items(), strict=True
    ):
        # Too few patients to calibrate on: the part's models are averaged as they are.
        test = rows[rows["split"] == "test"].groupby(["patient_id", "label"])["prob_b"].mean().reset_index()
        is_positive = test["label"] == "b"
        count = is_positive.sum() * (~is_positive).sum()
        pairs, wins = pairs + count, wins + count * roc_auc_score(is_positive, test["prob_b"])
        calls += list(test["prob_b"] >= fitted.point.threshold)
        truth += list(is_positive)
        assert name == f"folds {', '.join(map(str, sorted(rows['fold'].unique())))}"
    entries = found.metrics["test"]["patient"]
    assert entries["auroc"]["value"] == pytest.approx(wins / pairs) and entries["auroc"]["num_patients"] == 90
    assert entries["accuracy"]["value"] == pytest.approx(accuracy_score(truth, calls))
    assert entries["accuracy"]["low"] < entries["accuracy"]["value"] < entries["accuracy"]["high"]
    assert len(found.plots["scores"]) == 90


def test_every_null_of_a_whole_division_has_a_reason():
    for settings in (NESTED, REPEATED):
        for levels in evaluate_cross_validation(told(settings), QUICK).metrics.values():
            for entries in levels.values():
                for name, entry in entries.items():
                    assert entry["low"] is not None or entry["reason"], name


def test_each_part_stands_among_the_models_and_keeps_what_it_froze(tmp_path):
    found = evaluate_cross_validation(told(NESTED), QUICK)
    write_evaluation(found, EvaluationPaths(tmp_path))
    assert set(json.loads(EvaluationPaths(tmp_path).operating_point.read_text())["patient"]) == {
        "folds 0, 1",
        "folds 2, 3",
        "folds 4, 5",
    }
    with pytest.raises(ValueError, match="outer parts or repeats has a threshold of its own"):
        read_fitted(EvaluationPaths(tmp_path))
    models = pd.read_csv(EvaluationPaths(tmp_path).models)
    assert models["fold"].iloc[-1] == "folds 4, 5" and models[["seed", "fold"]].drop_duplicates().shape[0] == 9


def test_a_division_of_one_part_is_judged_as_it_always_was():
    table = told(REPEATED)
    table = table[table["fold"] < 3]
    assert evaluate_cross_validation(table, QUICK).metrics == evaluate_predictions(table, QUICK)


def test_repeats_of_which_folds_are_missing_are_refused():
    table = told(REPEATED)
    with pytest.raises(ValueError, match="repeated folds are evaluated one repeat at a time"):
        evaluate_cross_validation(table[table["fold"] != 5], QUICK)
