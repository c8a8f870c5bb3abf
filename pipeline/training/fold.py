"""One fold as training needs it: its scans, classes and settings."""

import hashlib
from dataclasses import dataclass

import pandas as pd

from pipeline.artifacts import LABEL, SCAN_ID, TRAIN, VAL, CohortPaths
from pipeline.config import Config, Plan, Training
from pipeline.files import read_json
from pipeline.loading.augmentation.augmenter import Augmenter
from pipeline.loading.augmentation.settings import settle_augmentation
from pipeline.loading.datamodule import ScanDataModule
from pipeline.resolve import check_file
from pipeline.scans.store import Store
from pipeline.splits.folds import read_splits, rows_of_fold
from pipeline.training.settle import settle


@dataclass(frozen=True)
class Fold:
    """The scans of one fold and how they are trained on."""

    scans: ScanDataModule
    rows: dict[str, pd.DataFrame]
    """Rows of splits.csv for train, val and test."""
    classes: list[str]
    """In the order of the logits."""
    plan: Plan
    training: Training
    """Without `auto`."""
    data_hash: str
    """SHA-256 of the voxels and labels that are trained on and validated with."""

    @property
    def label_counts(self) -> list[int]:
        """Training scans of each class."""
        return [int((self.rows[TRAIN][LABEL] == name).sum()) for name in self.classes]


def load_fold(config: Config, paths: CohortPaths) -> Fold:
    """Gather one fold from the files of its cohort."""
    plan = check_file(Plan, paths.plan)
    classes = read_json(paths.ingest)["classes"]
    rows = rows_of_fold(read_splits(paths.splits), config.fold)
    training = settle(config.training, plan)
    store = Store(paths.preprocessed)
    scans = ScanDataModule(
        store,
        train=indexed(rows[TRAIN], classes),
        val=indexed(rows[VAL], classes),
        batch_size=training.batch_size,
        num_workers=training.num_workers,
        seed=config.seed,
        augment=Augmenter(settle_augmentation(config.augmentation, config.cohort, plan)),
    )
    return Fold(scans, rows, classes, plan, training, hash_of_data(store, rows))


def indexed(rows: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """The same rows with each label as the index of its class."""
    return rows.assign(**{LABEL: rows[LABEL].map(classes.index)})


def hash_of_data(store: Store, rows: dict[str, pd.DataFrame]) -> str:
    """One hash of voxels, labels and sides."""
    seen = pd.concat([rows[TRAIN].assign(side=TRAIN), rows[VAL].assign(side=VAL)])
    lines = seen[[SCAN_ID, LABEL, "side"]].sort_values(SCAN_ID).to_csv(index=False)
    return hashlib.sha256((store.fingerprint(seen[SCAN_ID]) + lines).encode()).hexdigest()
