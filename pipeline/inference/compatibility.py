"""Does a checkpoint belong to the current config and cohort? A mismatch would otherwise go unnoticed."""

from typing import Any

from pipeline.config import Config, Model
from pipeline.core.folds import read_splits, rows_of_fold
from pipeline.core.io import read_json
from pipeline.core.paths import CohortPaths, TrainingKey
from pipeline.core.provenance import strip_local_paths
from pipeline.inference.predictor import Predictor
from pipeline.store.store import Store
from pipeline.training.auto import resolve_model
from pipeline.training.provenance import hash_of_data

ARCHITECTURE = {"name", "volume", "lora", "mask_channels", "options"}
"""Settings of a model that decide which weights it has."""


def check_compatible(trained: Predictor, config: Config, cohort: CohortPaths, key: TrainingKey) -> None:
    """ValueError if the checkpoint is of another training, or has another model, other classes or other scans."""
    check_same_training(trained, config, key)
    check_same_model(trained, config.model)
    check_same_classes(trained, cohort)
    check_same_data(trained, cohort, key.fold)


def check_same_training(trained: Predictor, config: Config, key: TrainingKey) -> None:
    """ValueError if the checkpoint is of another experiment, cohort, fold or seed, and was copied here."""
    found, wanted = format_training(trained.config, trained.config.training_key), format_training(config, key)
    if found != wanted:
        raise ValueError(f"{trained.path}: the checkpoint of {found}, expected that of {wanted}; train it again.")


def format_training(config: Config, key: TrainingKey) -> str:
    return f"experiment '{config.name}' on cohort '{config.cohort.name}', {key}"


def check_same_model(trained: Predictor, model: Model) -> None:
    found, wanted = architecture(trained.config.model), architecture(resolve_model(model, trained.plan))
    # Training may have replaced batch norm by group norm, and wrote that to the checkpoint.
    wanted["options"] = {key: found["options"][key] for key in ("norm",) if key in found["options"]} | wanted["options"]
    different = [key for key in sorted(ARCHITECTURE) if found[key] != wanted[key]]
    if different:
        raise ValueError(
            f"{trained.path}: trained with {format_settings(found, different)}, the config asks for "
            f"{format_settings(wanted, different)}; train it again, or give the config that it was trained with."
        )


def architecture(model: Model) -> dict[str, Any]:
    """The settings as a checkpoint contains them."""
    return strip_local_paths(model.model_dump(mode="json", include=ARCHITECTURE))


def format_settings(settings: dict[str, Any], keys: list[str]) -> str:
    return ", ".join(f"model.{key}={settings[key]}" for key in keys)


def check_same_classes(trained: Predictor, cohort: CohortPaths) -> None:
    classes = read_json(cohort.ingest, "classes")["classes"]
    if trained.classes != classes:
        raise ValueError(
            f"{trained.path}: its classes are {', '.join(trained.classes)}, those of {cohort.ingest} are "
            f"{', '.join(classes)}; train it again."
        )


def check_same_data(trained: Predictor, cohort: CohortPaths, fold: int) -> None:
    """After another split, validation could contain patients that it was trained on."""
    rows = rows_of_fold(read_splits(cohort.splits), fold)
    if trained.data_hash != hash_of_data(Store(cohort.preprocessed), rows):
        raise ValueError(
            f"{trained.path}: trained on other scans, labels or partitions than fold {fold} of {cohort.splits} has, so "
            "validation could contain its training patients; train it again."
        )
