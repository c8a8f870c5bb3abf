"""Load a checkpoint for inference: weights, plan and classes; write predictions and embeddings.

Axes: B batch, C channels, D H W depth height width, K classes, F features.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config import Columns, Config, Model, Plan
from pipeline.core.columns import FOLD, LABEL, PATIENT_ID, PROB_PREFIX, SCAN_ID, SEED, SPLIT
from pipeline.core.folds import read_splits, rows_of_fold
from pipeline.core.io import read_json, sha256, whole_file
from pipeline.core.paths import CohortPaths, TrainingKey
from pipeline.core.provenance import without_folders
from pipeline.imaging.intensity import to_standards
from pipeline.imaging.io.discover import ScanFiles
from pipeline.imaging.preprocessing import Prepared, preprocess_scan
from pipeline.models.quantization import dequantize_weights
from pipeline.store.store import Store
from pipeline.training.auto import build_network, resolve_model
from pipeline.training.checkpoint import TrainedCheckpoint
from pipeline.training.provenance import hash_of_data
from pipeline.training.targets import probabilities, task_of

Volume = NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """What a network says of one scan."""

    probs: NDArray[np.float64]
    """(K,), in the order of the classes."""
    embeddings: tuple[NDArray[np.float32], ...]
    """The mean of each stage's map, (C_i,) each, finest stage first."""


class Predictor:
    """A trained network with everything needed to use it."""

    threshold: float | None = None
    """One fold alone gives probabilities; what is called is decided when it is evaluated."""

    def __init__(self, content: TrainedCheckpoint, path: Path) -> None:
        self.path = path
        self.sha256 = sha256(path)
        self.config = Config.from_record(content.config)
        self.plan = Plan.model_validate(content.plan)
        self.classes = content.classes
        self.data_hash = content.data_hash
        self.task = task_of(self.config.cohort, self.classes)
        self.network = build_network(
            self.config.model, num_classes=len(self.classes), in_channels=self.plan.in_channels, pretrained=False
        )
        missing, unexpected = self._load(content)
        if missing or unexpected:
            raise ValueError(
                f"{path}: its weights are not those of model '{self.config.model.name}': "
                f"missing {missing[:3] or 'none'}, unexpected {unexpected[:3] or 'none'}; train again."
            )
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network.eval().to(self.device)

    @classmethod
    def load(cls, path: Path) -> "Predictor":
        """Read best.ckpt; weights only, nothing in it is executed."""
        return cls(TrainedCheckpoint.read(path), path)

    def _load(self, content: TrainedCheckpoint) -> tuple[list[str], list[str]]:
        try:
            keys = self.network.load_state_dict(dequantize_weights(content.state_dict), strict=False)
        except RuntimeError as error:
            reason = str(error).splitlines()[1].strip()
            raise ValueError(f"{self.path}: its weights do not fit its own config ({reason}); train again.") from None
        return list(keys.missing_keys), list(keys.unexpected_keys)

    @property
    def columns(self) -> Columns:
        """Of the table that it was trained from."""
        return self.config.cohort.columns

    def prepare(self, scan: ScanFiles | Path) -> Prepared:
        """A raw scan as this run's network sees it, by the function that prepared the training scans."""
        return preprocess_scan(scan, self.plan)

    def network_input(self, volume: Volume) -> Tensor:
        """One prepared volume (C, D, H, W) as a batch of one, after what the fold has learned of intensities."""
        matched = np.array(volume, np.float32, order="C")
        to_standards(matched, self.plan.standards)
        return torch.from_numpy(matched)[None].to(self.device)

    @torch.inference_mode()
    def predict(self, volume: Volume) -> Prediction:
        """One prepared volume (C, D, H, W) -> class probabilities and stage embeddings.

        One at a time, so that a probability does not depend on which scans it was computed beside.
        """
        stages, logits = self.network.forward_stages(self.network_input(volume))
        embeddings = tuple(stage.float().flatten(2).mean(2)[0].cpu().numpy() for stage in stages)
        return Prediction(probabilities(logits.double(), self.task)[0].cpu().numpy(), embeddings)

    def predict_all(self, volumes: Iterable[Volume]) -> Iterator[Prediction]:
        return (self.predict(volume) for volume in volumes)


def prediction_table(
    rows: pd.DataFrame, predictions: Sequence[Prediction], *, classes: Sequence[str], key: TrainingKey
) -> pd.DataFrame:
    """predictions.csv: `scan_id, patient_id, fold, seed, split, label, prob_<class>…`; `rows` has one a prediction."""
    probs = np.stack([prediction.probs for prediction in predictions])
    table = rows[[SCAN_ID, PATIENT_ID, SPLIT, LABEL]].reset_index(drop=True)
    table.insert(2, FOLD, key.fold)
    table.insert(3, SEED, key.seed)
    for index, name in enumerate(classes):
        table[f"{PROB_PREFIX}{name}"] = probs[:, index]
    return table


def write_embeddings(path: Path, scan_ids: Sequence[str], predictions: Sequence[Prediction]) -> None:
    """An .npz with `scan_id` (num_scans,) and `stage1` … `stage4`, each (num_scans, C_i)."""
    stages = zip(*(prediction.embeddings for prediction in predictions), strict=True)
    arrays = {f"stage{index}": np.stack(stage) for index, stage in enumerate(stages, start=1)}
    with whole_file(path) as temporary:
        np.savez(temporary, scan_id=np.array(scan_ids, dtype=np.str_), **arrays)


ARCHITECTURE = {"name", "volume", "lora", "options"}
"""Settings of a model that decide which weights it has."""


def check_compatible(trained: Predictor, model: Model, cohort: CohortPaths, fold: int) -> None:
    """ValueError where the checkpoint is of another model, or of other classes or scans than the fold has now."""
    refuse_other_model(trained, model)
    refuse_other_classes(trained, cohort)
    refuse_other_data(trained, cohort, fold)


def refuse_other_model(trained: Predictor, model: Model) -> None:
    found, wanted = architecture(trained.config.model), architecture(resolve_model(model, trained.plan))
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


def refuse_other_classes(trained: Predictor, cohort: CohortPaths) -> None:
    classes = read_json(cohort.ingest)["classes"]
    if trained.classes != classes:
        raise ValueError(
            f"{trained.path}: its classes are {', '.join(trained.classes)}, those of {cohort.ingest} are "
            f"{', '.join(classes)}; train it again."
        )


def refuse_other_data(trained: Predictor, cohort: CohortPaths, fold: int) -> None:
    """After another split, patients that it was trained on would be taken for validation."""
    rows = rows_of_fold(read_splits(cohort.splits), fold)
    if trained.data_hash != hash_of_data(Store(cohort.preprocessed), rows):
        raise ValueError(
            f"{trained.path}: trained on other scans, labels or sides than fold {fold} of {cohort.splits} has now, so "
            "its training patients could be taken for validation; train it again."
        )
