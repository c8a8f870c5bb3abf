"""Is a checkpoint the one that the config and the cohort's files of today ask for? Nobody would notice another."""

from typing import Any

from pipeline.config import Model
from pipeline.core.folds import FoldLabel, parse_fold, read_splits, rows_of_fold
from pipeline.core.io import read_json
from pipeline.core.paths import CohortPaths
from pipeline.core.provenance import without_folders
from pipeline.inference.trained import TrainedRun
from pipeline.store.store import Store
from pipeline.training.auto import settle_model
from pipeline.training.provenance import hash_of_data

ARCHITECTURE = {"name", "volume", "lora", "options"}
"""Settings of a model that decide which weights it has."""


def refuse_mismatch(trained: TrainedRun, model: Model, cohort: CohortPaths, fold: FoldLabel) -> None:
    """ValueError where the checkpoint is of another model, or of other classes or scans than the fold has now."""
    refuse_other_model(trained, model)
    refuse_other_classes(trained, cohort)
    refuse_other_data(trained, cohort, fold)


def refuse_other_model(trained: TrainedRun, model: Model) -> None:
    found, wanted = architecture(trained.config.model), architecture(settle_model(model, trained.plan))
    # Training puts group norm where a batch norm would see too few images, and keeps what it put there.
    wanted["options"] = {key: found["options"][key] for key in ("norm",) if key in found["options"]} | wanted["options"]
    other = [key for key in sorted(ARCHITECTURE) if found[key] != wanted[key]]
    if other:
        raise ValueError(
            f"{trained.path}: trained with {told(found, other)}, the config asks for {told(wanted, other)}; "
            "train it again, or give the config that it was trained with."
        )


def architecture(model: Model) -> dict[str, Any]:
    """As a checkpoint keeps it."""
    return without_folders(model.model_dump(mode="json", include=ARCHITECTURE))


def told(settings: dict[str, Any], keys: list[str]) -> str:
    return ", ".join(f"model.{key}={settings[key]}" for key in keys)


def refuse_other_classes(trained: TrainedRun, cohort: CohortPaths) -> None:
    classes = read_json(cohort.ingest)["classes"]
    if trained.classes != classes:
        raise ValueError(
            f"{trained.path}: its classes are {', '.join(trained.classes)}, those of {cohort.ingest} are "
            f"{', '.join(classes)}; train it again."
        )


def refuse_other_data(trained: TrainedRun, cohort: CohortPaths, fold: FoldLabel) -> None:
    """After another split, patients that it was trained on would be taken for validation."""
    rows = rows_of_fold(read_splits(cohort.splits), parse_fold(fold)[0])
    if trained.data_hash != hash_of_data(Store(cohort.preprocessed), rows):
        raise ValueError(
            f"{trained.path}: trained on other scans, labels or sides than fold {fold} of {cohort.splits} has now, so "
            "its training patients could be taken for validation; train it again."
        )
