"""One fold as training needs it: its scans, classes and settings."""

from dataclasses import dataclass

import pandas as pd

from pipeline.config import Config, Histogram, Plan, Training
from pipeline.config.load import check_file
from pipeline.core.columns import SCAN_ID, TRAIN, VAL
from pipeline.core.folds import read_splits, rows_of_fold
from pipeline.core.io import read_json
from pipeline.core.paths import CohortPaths
from pipeline.data.augmentation.pipeline import Augmenter, augmentation_settings
from pipeline.data.datamodule import ScanDataModule
from pipeline.imaging.intensity import fit_standards
from pipeline.store.store import Store
from pipeline.training.provenance import hash_of_data
from pipeline.training.targets import Task, count_classes, task_of, with_targets


@dataclass(frozen=True)
class Fold:
    """The scans of one fold and how they are trained on."""

    scans: ScanDataModule
    rows: dict[str, pd.DataFrame]
    """Rows of splits.csv for train, val and test."""
    classes: list[str]
    """In the order of the logits."""
    task: Task
    plan: Plan
    training: Training
    """Without `auto`."""
    data_hash: str
    """SHA-256 of the voxels and labels that are trained on and validated with."""

    @property
    def class_counts(self) -> list[int]:
        """Training scans that show each class."""
        return count_classes(self.rows[TRAIN], self.classes, self.task)


def load_fold(config: Config, paths: CohortPaths) -> Fold:
    """Gather one fold from the files of its cohort; no setting of the config is still `auto`."""
    plan = check_file(Plan, paths.plan)
    classes = read_json(paths.ingest)["classes"]
    task = task_of(config.cohort, classes)
    rows = rows_of_fold(read_splits(paths.splits), config.fold)
    training = config.training
    if training.monitor == "auroc" and config.model.learns_by_gradient:
        check_auroc_defined(rows[VAL], classes, task)
    store = Store(paths.preprocessed)
    plan = learn(plan, store, rows[TRAIN][SCAN_ID])
    scans = ScanDataModule(
        store,
        train=with_targets(rows[TRAIN], classes, task),
        val=with_targets(rows[VAL], classes, task),
        batch_size=training.batch_size,
        num_workers=training.num_workers,
        seed=config.seed,
        balanced=training.sampling == "balanced",
        augment=Augmenter(augmentation_settings(config.augmentation, config.cohort, plan)),
        standards=plan.standards,
    )
    return Fold(scans, rows, classes, task, plan, training, hash_of_data(store, rows))


def learn(plan: Plan, store: Store, train_scans: pd.Series) -> Plan:
    """The plan with what its intensity scheme learns from the training scans of this fold, if it learns anything."""
    if not isinstance(plan.intensity, Histogram):
        return plan
    volumes = (store.read(scan_id)[0] for scan_id in train_scans)
    return plan.model_copy(update={"standards": fit_standards(volumes, plan.num_images)})


def check_auroc_defined(val: pd.DataFrame, classes: list[str], task: Task) -> None:
    """Epochs are compared by an AUROC over the validation scans `val`, which needs scans with and without a class."""
    counts = count_classes(val, classes, task)
    if task == "multilabel":
        is_undefined = all(count in (0, len(val)) for count in counts)
    else:
        is_undefined = 0 in counts
    if is_undefined:
        found = ", ".join(f"{count} {name}" for name, count in zip(classes, counts, strict=True))
        raise ValueError(
            f"training.monitor: the AUROC of {len(val)} validation scans is undefined, got {found}, expected some of "
            "each class; set training.monitor=loss, or divide the patients into fewer folds."
        )
