import pandas as pd
import pytest

from pipeline.config import Split
from pipeline.core.folds import fold_numbers, rows_of_fold
from pipeline.evaluation.evaluate import evaluate_predictions
from pipeline.evaluation.predictions import check_predictions
from pipeline.evaluation.settings import Settings
from pipeline.splits.splitting import split_patients


def predictions(settings: Split, folds: list[int] | None = None, patients: int = 60) -> pd.DataFrame:
    """What the folds of a division hold out, each scan with the same answer from every fold."""
    cohort = pd.DataFrame(
        {"scan_id": [f"s{k:02d}" for k in range(patients)], "patient_id": [f"p{k:02d}" for k in range(patients)]}
    )
    splits = split_patients(cohort.assign(label=["a", "b"] * (patients // 2)), settings)
    parts = [
        rows_of_fold(splits, fold)[split].assign(fold=fold, split=split)
        for fold in folds or fold_numbers(splits)
        for split in ("val", "test")
    ]
    table = pd.concat(parts, ignore_index=True)[["scan_id", "patient_id", "label", "fold", "split"]]
    prob = (table["scan_id"].str.removeprefix("s").astype(int) * 37 % 61 + 1) / 63
    return table.assign(prob_a=1 - prob, prob_b=prob)


NESTED, REPEATED = Split(scheme="nested", num_folds=3), Split(num_folds=3, num_repeats=2)


def test_a_nested_division_is_refused_with_the_folds_that_can_be_judged_together():
    with pytest.raises(ValueError, match=r"in test of fold \d and in val of fold \d.*such as folds=\[0, 1\]"):
        evaluate_predictions(predictions(NESTED))


def test_a_repeated_division_is_refused_with_the_folds_that_can_be_judged_together():
    with pytest.raises(ValueError, match=r"validates in folds \d and \d.*such as folds=\[0, 1, 2\]"):
        evaluate_predictions(predictions(REPEATED))


@pytest.mark.parametrize(("settings", "folds"), [(NESTED, [2, 3]), (REPEATED, [3, 4, 5])])
def test_one_outer_part_or_repeat_is_judged_like_any_division(settings, folds):
    metrics = evaluate_predictions(predictions(settings, folds), Settings(num_bootstrap=100))
    assert sum(metrics[split]["patient"]["auroc"]["num_patients"] for split in ("val", "test")) == 60


def test_models_that_all_judged_the_same_validation_patients_are_one_division():
    table = predictions(Split(scheme="holdout"))
    check_predictions(pd.concat([table, table.assign(fold=1)]))


def test_a_patient_that_trains_and_validates_in_one_fold_is_refused():
    table = predictions(Split(scheme="holdout"))
    leaked = table[table["split"] == "val"].head(1).assign(scan_id="again", split="train")
    with pytest.raises(ValueError, match="is in train and val of fold 0, expected one of them"):
        check_predictions(pd.concat([table, leaked]))
