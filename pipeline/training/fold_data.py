"""The data of one fold: its scans, classes, plan and settings."""

from dataclasses import dataclass

import pandas as pd
from monai.transforms import Compose

from pipeline.config import Config, Histogram, Plan, Training
from pipeline.config.load import load_yaml
from pipeline.core.columns import SCAN_ID, TRAIN, VAL
from pipeline.core.folds import read_splits, rows_of_fold
from pipeline.core.io import read_json
from pipeline.core.paths import CohortPaths
from pipeline.data.augmentation.pipeline import augmentation_settings, augmentation_transforms
from pipeline.data.datamodule import ScanDataModule
from pipeline.imaging.extra_transforms import build_extra, own_names
from pipeline.imaging.intensity import fit_standards
from pipeline.store.store import Store
from pipeline.training.provenance import hash_of_data
from pipeline.training.targets import Task, count_classes, task_of, with_targets


@dataclass(frozen=True)
class Fold:
    """The scans of one fold and the settings for training on them."""

    scans: ScanDataModule
    rows: dict[str, pd.DataFrame]
    """Rows of splits.csv for train, val and test."""
    classes: list[str]
    """In the order of the logits."""
    task: Task
    plan: Plan
    training: Training
    """With no `auto` left."""
    data_hash: str
    """SHA-256 of the voxels and labels of the training and validation scans."""

    @property
    def class_counts(self) -> list[int]:
        """Training scans of each class."""
        return count_classes(self.rows[TRAIN], self.classes, self.task)


def load_fold(config: Config, paths: CohortPaths) -> Fold:
    """Load one fold from the files of its cohort; the config has no `auto` left."""
    plan = load_yaml(Plan, paths.plan)
    classes = read_json(paths.ingest, "classes")["classes"]
    task = task_of(config.cohort, classes)
    rows = rows_of_fold(read_splits(paths.splits), config.fold)
    training = config.training
    if training.monitor == "auroc" and config.model.learns_by_gradient:
        check_auroc_defined(rows[VAL], classes, task)
    store = Store(paths.preprocessed)
    plan = fit_intensity(plan, store, rows[TRAIN][SCAN_ID])
    scans = ScanDataModule(
        store,
        train=with_targets(rows[TRAIN], classes, task),
        val=with_targets(rows[VAL], classes, task),
        batch_size=training.batch_size,
        num_workers=training.num_workers,
        seed=config.seed,
        balanced=training.sampling == "balanced",
        augment=augmentation_of(config, plan),
        standards=plan.standards,
    )
    return Fold(scans, rows, classes, task, plan, training, hash_of_data(store, rows))


def augmentation_of(config: Config, plan: Plan) -> Compose:
    """The random transforms of the training scans, those that the config adds by name at the end."""
    extra = config.augmentation.extra
    # The config is a local file: what it names may be imported.
    added = build_extra(extra, own_names(extra), where="augmentation.extra")
    return augmentation_transforms(augmentation_settings(config.augmentation, config.cohort, plan), added)


def fit_intensity(plan: Plan, store: Store, train_scans: pd.Series) -> Plan:
    """The plan with the landmarks that histogram standardization fits to the training scans of this fold."""
    if not isinstance(plan.intensity, Histogram):
        return plan
    volumes = (store.read(scan_id)[0] for scan_id in train_scans)
    return plan.model_copy(update={"standards": fit_standards(volumes, plan.num_images)})


def check_auroc_defined(val: pd.DataFrame, classes: list[str], task: Task) -> None:
    """ValueError if the AUROC over the validation scans `val`, which selects the checkpoint, is undefined."""
    counts = count_classes(val, classes, task)
    if task == "multilabel":
        is_undefined = all(count in (0, len(val)) for count in counts)
    else:
        is_undefined = 0 in counts
    if is_undefined:
        counted = ", ".join(f"{count} {name}" for name, count in zip(classes, counts, strict=True))
        raise ValueError(
            f"training.monitor: the AUROC of {len(val)} validation scans is undefined, got {counted}, expected some of "
            "each class; set training.monitor=loss, or use fewer folds."
        )
