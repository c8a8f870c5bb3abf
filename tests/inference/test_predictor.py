"""A checkpoint of another config, other classes or another split is rejected."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.config import Model
from pipeline.core.folds import write_splits
from pipeline.core.io import write_json
from pipeline.core.paths import CohortPaths
from pipeline.inference.predictor import Predictor, check_compatible
from pipeline.training.checkpoint import TrainedCheckpoint
from pipeline.training.provenance import hash_of_data
from tests.training.small import PLAN, SmallTraining

HEAD = "head.weight"


class Matched:
    """A cohort and a checkpoint of its fold 0."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.cohort = CohortPaths(folder)
        training = SmallTraining(folder)
        rows = training.fold.rows
        folds = [rows["train"].assign(fold=1), rows["val"].assign(fold=0)]
        self.splits = pd.concat(folds, ignore_index=True).assign(split="development")
        write_splits(self.cohort.splits, self.splits)
        write_json(self.cohort.ingest, {"classes": training.fold.classes, "num_scans": len(self.splits)})
        self.config, self.model = training.config, training.config.model
        model = {**self.model.model_dump(), "options": {**self.model.options, **options}}
        config = training.config.model_copy(update={"model": Model(**model)})
        content = TrainedCheckpoint(
            config=config.model_dump(mode="json"),
            plan=PLAN.model_dump(mode="json"),
            classes=training.fold.classes,
            state_dict=training.start().state_dict(),
            epoch=0,
            score=0.5,
            data_hash=hash_of_data(training.fold.scans.datasets["train"].store, rows),
            code_hash="",
        )
        content.write(folder / "best.ckpt")
        self.trained = Predictor.load(folder / "best.ckpt")

    def check(self, model: Model | None = None, **changes: object) -> None:
        config = self.config.model_copy(update={"model": model or self.model, **changes})
        check_compatible(self.trained, config, self.cohort, config.training_key)


def test_its_own_config_and_cohort_are_accepted_and_so_is_the_norm_that_training_chose(tmp_path: Path) -> None:
    Matched(tmp_path).check()
    Matched(tmp_path, norm="group").check()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"name": "other"},
            "of experiment 'small' on cohort 'blocks', fold 0, seed 0, expected that of experiment 'other'",
        ),
        ({"fold": 1}, "expected that of experiment 'small' on cohort 'blocks', fold 1, seed 0"),
        ({"seed": 7}, "expected that of experiment 'small' on cohort 'blocks', fold 0, seed 7"),
    ],
)
def test_a_checkpoint_of_another_experiment_fold_or_seed_is_rejected(tmp_path: Path, changes: dict, says: str) -> None:
    with pytest.raises(ValueError, match=f"best.ckpt: the checkpoint .*{says}.*; train it again"):
        Matched(tmp_path).check(**changes)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_rejected_by_name(tmp_path: Path, value: float) -> None:
    path = Matched(tmp_path).trained.path
    trained = TrainedCheckpoint.read(path)
    trained.state_dict[HEAD][0, 0] = value
    trained.write(path)
    with pytest.raises(ValueError, match="best.ckpt: 1 of its weights, such as head.weight, are NaN or infinite"):
        Predictor.load(path)


def test_weights_so_large_that_a_scan_overflows_give_an_error_and_no_probabilities(tmp_path: Path) -> None:
    path = Matched(tmp_path).trained.path
    trained = TrainedCheckpoint.read(path)
    trained.state_dict[HEAD].fill_(3e38)
    trained.write(path)
    volume = np.random.default_rng(0).normal(size=(1, 8, 8, 8)).astype(np.float32)
    with pytest.raises(ValueError, match=r"best.ckpt: the network gives \[.*\] for a scan with values from -"):
        Predictor.load(path).predict(volume)


def test_patients_that_changed_partition_are_rejected(tmp_path: Path) -> None:
    matched = Matched(tmp_path)
    matched.splits.loc[[0, 10], "fold"] = [0, 1]
    write_splits(matched.cohort.splits, matched.splits)
    with pytest.raises(
        ValueError, match="best.ckpt: trained on other scans, labels or partitions than fold 0.*train it"
    ):
        matched.check()


def test_a_corrected_label_is_rejected(tmp_path: Path) -> None:
    matched = Matched(tmp_path)
    matched.splits.loc[3, "label"] = "dark"
    write_splits(matched.cohort.splits, matched.splits)
    with pytest.raises(ValueError, match="other scans, labels or partitions"):
        matched.check()


def test_classes_in_another_order_are_rejected(tmp_path: Path) -> None:
    matched = Matched(tmp_path)
    write_json(matched.cohort.ingest, {"classes": ["light", "dark"], "num_scans": len(matched.splits)})
    with pytest.raises(ValueError, match="its classes are dark, light, those of .*ingest.json are light, dark"):
        matched.check()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "poolformer_s24"}, "model.name=poolformer_s12, the config asks for model.name=poolformer_s24"),
        ({"options": {"spatial_dims": 3}}, "model.options=.*stem_stride.*the config asks for model.options="),
        ({"lora": {"rank": 2}}, "model.lora=None, the config asks for model.lora={'rank': 2}"),
    ],
)
def test_another_architecture_than_that_of_the_config_is_rejected(tmp_path: Path, change: dict, says: str) -> None:
    matched = Matched(tmp_path)
    with pytest.raises(ValueError, match=says):
        matched.check(matched.model.model_copy(update=change))
