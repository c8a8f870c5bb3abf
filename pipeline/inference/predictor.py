"""Load a checkpoint for inference, and predict one scan at a time.

Axes: B batch, C channels, D H W depth height width, K classes, F features.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.config import Columns, Config, Model, Plan
from pipeline.core.folds import read_splits, rows_of_fold
from pipeline.core.io import read_json, sha256
from pipeline.core.paths import CohortPaths, TrainingKey
from pipeline.core.provenance import strip_local_paths
from pipeline.imaging.intensity import to_standards
from pipeline.imaging.io.discover import ScanFiles
from pipeline.imaging.preprocessing import PreparedScan, preprocess_scan
from pipeline.imaging.transforms import scan_transforms
from pipeline.models.quantization import dequantize_weights
from pipeline.models.stack import Stack
from pipeline.store.store import Store
from pipeline.training.auto import build_network, resolve_model
from pipeline.training.checkpoint import TrainedCheckpoint
from pipeline.training.provenance import hash_of_data
from pipeline.training.targets import probabilities, task_of

Volume = NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """The output for one scan."""

    probs: NDArray[np.float64]
    """(K,), in the order of the classes."""
    embeddings: tuple[NDArray[np.float32], ...]
    """The mean of each stage's map, (C_i,) each, finest stage first."""
    members: tuple[NDArray[np.float64], ...] = ()
    """What each training of an ensemble, or each member of a stack, says by itself, (K,) each; none of one network."""


class Predictor:
    """A trained network with everything that prediction needs."""

    fitted: None = None
    """One training alone predicts probabilities; threshold and conformal sets are fitted in evaluation."""

    def __init__(self, content: TrainedCheckpoint, path: Path, *, own_transforms: frozenset[str] = frozenset()) -> None:
        self.path = path
        self.own_transforms = own_transforms
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
        check_finite(self.network, path)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network.eval().to(self.device)

    @classmethod
    def load(cls, path: Path, *, own_transforms: frozenset[str] = frozenset()) -> "Predictor":
        """Read best.ckpt; weights only, nothing in it is executed.

        `own_transforms` are dotted paths of the user's own preprocessing transforms that the caller trusts.
        """
        return cls(TrainedCheckpoint.read(path), path, own_transforms=own_transforms)

    def _load(self, content: TrainedCheckpoint) -> tuple[list[str], list[str]]:
        try:
            keys = self.network.load_state_dict(dequantize_weights(content.state_dict), strict=False)
        except RuntimeError as error:
            reason = str(error).splitlines()[1].strip()
            raise ValueError(f"{self.path}: its weights do not fit its own config ({reason}); train again.") from None
        return list(keys.missing_keys), list(keys.unexpected_keys)

    @property
    def trainings(self) -> list["Predictor"]:
        """Itself, as the only training."""
        return [self]

    @property
    def columns(self) -> Columns:
        """Columns of the label table that it was trained with."""
        return self.config.cohort.columns

    @cached_property
    def transforms(self) -> Compose:
        """The transforms that preprocessed the training scans."""
        return scan_transforms(self.plan, own_modules=self.own_transforms, is_new=True)

    def prepare(self, scan: ScanFiles | Path) -> PreparedScan:
        """Preprocess a raw scan with the transforms of the training scans."""
        return preprocess_scan(scan, self.plan, self.transforms)

    def network_input(self, volume: Volume) -> Tensor:
        """A preprocessed volume (C, D, H, W) -> (1, C, D, H, W), standardized with the fold's landmarks, if any."""
        standardized = np.array(volume, np.float32, order="C")
        to_standards(standardized, self.plan.standards)
        return torch.from_numpy(standardized)[None].to(self.device)

    @torch.inference_mode()
    def predict(self, volume: Volume) -> Prediction:
        """A preprocessed volume (C, D, H, W) -> class probabilities and stage embeddings.

        Without batching, so that a probability does not depend on the other scans of a batch.
        """
        with head_inputs(self.network) as embedding:
            stages, logits = self.network.forward_stages(self.network_input(volume))
        if not torch.isfinite(logits).all():
            found = f"{logits[0].tolist()} for a scan with values from {volume.min():.4g} to {volume.max():.4g}"
            raise ValueError(
                f"{self.path}: the network gives {found}, expected finite numbers; inspect that scan, and train again "
                "if others fail too."
            )
        embeddings = tuple(stage.float().flatten(2).mean(2)[0].cpu().numpy() for stage in stages)
        members = [] if not embedding else member_logits(self.network, embedding[0])
        probs, *of_members = (probabilities(found.double(), self.task)[0].cpu().numpy() for found in (logits, *members))
        return Prediction(probs, embeddings, tuple(of_members))

    def predict_all(self, volumes: Iterable[Volume]) -> Iterator[Prediction]:
        return (self.predict(volume) for volume in volumes)


@contextmanager
def head_inputs(network: nn.Module) -> Iterator[list[Tensor]]:
    """The joined embeddings that the head of a stack reads; of another network nothing is kept."""
    found: list[Tensor] = []
    if not isinstance(network, Stack):
        yield found
        return
    hook = network.head.register_forward_pre_hook(lambda head, inputs: found.append(inputs[0]))
    try:
        yield found
    finally:
        hook.remove()


def member_logits(stack: Stack, embedding: Tensor) -> list[Tensor]:
    """The logits (B, K) that each member of a stack with a weight would give alone, with the common bias."""
    parts = stack.member_logits(embedding)
    weights = dict(zip(stack.members, stack.member_weights.tolist(), strict=True))
    return [parts[name] / weights[name] + stack.head.bias for name in stack.active_members]


def check_finite(network: nn.Module, path: Path) -> None:
    """ValueError if a weight or a statistic of batch norm is NaN or infinite, as after a training that diverged."""
    bad = [name for name, value in network.state_dict().items() if not torch.isfinite(value).all()]
    if bad:
        raise ValueError(
            f"{path}: {len(bad)} of its weights, such as {bad[0]}, are NaN or infinite, expected finite numbers; "
            "train again, with a lower training.learning_rate if the losses of history.csv grow."
        )


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
