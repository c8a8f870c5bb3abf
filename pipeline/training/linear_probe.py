"""Linear probe: a logistic regression on frozen features, written into the network's last layer."""

import hashlib
import logging
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from pipeline.core.columns import LABEL, PATIENT_ID, SCAN_ID, TRAIN, VAL
from pipeline.core.io import whole_file
from pipeline.core.paths import CohortPaths
from pipeline.core.progress import show_progress
from pipeline.data.dataset import stored_images
from pipeline.models.network import Network
from pipeline.store.store import Store
from pipeline.training.checkpoint import RunDirectory
from pipeline.training.fold_data import Fold
from pipeline.training.logistic import (
    ClassWeight,
    choose_penalty,
    class_rows,
    feature_scale,
    patient_folds,
    regression_of,
)
from pipeline.training.losses import plain_loss
from pipeline.training.targets import by_patient, validation_auroc, with_targets

log = logging.getLogger(__name__)


def fit_linear_probe(network: Network, fold: Fold, run_directory: RunDirectory, paths: CohortPaths, seed: int) -> None:
    """Fit the head on the training scans and save the network as best and last checkpoint."""
    check_single_label(fold)
    labels = labels_of(fold)
    features = {partition: embeddings_of([network], fold, paths, fold.rows[partition])[0] for partition in (TRAIN, VAL)}
    penalty = fit_logistic_head(
        network,
        features[TRAIN].numpy(),
        labels[TRAIN],
        groups=fold.rows[TRAIN][PATIENT_ID].to_numpy(),
        class_weight="balanced" if fold.training.class_weights == "balanced" else None,
        seed=seed,
    )
    metrics = head_metrics(network, features, labels, fold)
    log.info(
        "logistic head, inverse penalty %g: val_loss %.3f  val_auroc %.3f",
        penalty,
        metrics["val_loss"],
        metrics["val_auroc"],
    )
    run_directory.save_only_epoch(network.state_dict(), metrics)


def check_single_label(fold: Fold) -> None:
    """Reject a multilabel task: a logistic head gives each scan one class."""
    if fold.task == "multilabel":
        raise ValueError(
            "model.freeze: a logistic head gives each scan one class, got the task multilabel; "
            "set model.freeze=false, with model.lora to keep most weights as they are."
        )


def embeddings_of(
    networks: Sequence[Network], fold: Fold, paths: CohortPaths, rows: pd.DataFrame
) -> list[torch.Tensor]:
    """Pooled embeddings (N, F) of the scans of `rows` by each network, each scan read once.

    They come from the cache where they were computed before.
    """
    images = stored_images(Store(paths.preprocessed), rows[SCAN_ID], fold.plan.standards)
    caches = [FeatureCache(paths.features, network) for network in networks]
    found = [
        [cache.embedding(torch.from_numpy(image)) for cache in caches]
        for image in show_progress(images, len(rows), "features")
    ]
    return [torch.stack(of_network) for of_network in zip(*found, strict=True)]


def labels_of(fold: Fold) -> dict[str, NDArray[np.int64]]:
    """Classes (N,) of the training and validation scans."""
    return {
        partition: with_targets(fold.rows[partition], fold.classes, fold.task)[LABEL].to_numpy(copy=True)
        for partition in (TRAIN, VAL)
    }


@torch.no_grad()
def head_metrics(
    network: Network, features: dict[str, torch.Tensor], labels: dict[str, NDArray], fold: Fold
) -> dict[str, float]:
    """Loss of training scans, loss and AUROC of validation patients, of the last layer on embeddings (N, F)."""
    logits = {partition: classifier_of(network)(embeddings) for partition, embeddings in features.items()}
    known = {partition: (logits[partition], torch.from_numpy(labels[partition])) for partition in (TRAIN, VAL)}
    known[VAL] = by_patient(*known[VAL], fold.rows[VAL][PATIENT_ID].tolist(), fold.task)
    losses = {f"{partition}_loss": float(plain_loss(fold.task)(*known[partition])) for partition in (TRAIN, VAL)}
    return {**losses, "val_auroc": validation_auroc(known[VAL][0].softmax(1), known[VAL][1])}


def fit_logistic_head(
    network: Network,
    embeddings: NDArray[np.floating],
    labels: NDArray[np.integer],
    *,
    groups: NDArray | None = None,
    inverse_penalty: float | None = None,
    class_weight: ClassWeight = None,
    seed: int = 0,
) -> float:
    """Set the last layer of `network` to the logistic regression of `labels` (N,) on `embeddings` (N, F).

    Features are standardized, and the layer's weights include the scaling: softmax of the logits is the fitted
    probability. Without `inverse_penalty` the candidate with the smallest out-of-fold log loss is used; folds keep
    each of `groups` (N,), the patients, in one piece, and `class_weight` applies to that loss too. Returns the
    inverse penalty.
    """
    layer = classifier_of(network)
    check_labels(labels, layer.out_features)
    mean, scale = embeddings.mean(axis=0), feature_scale(embeddings)
    standardized = (embeddings - mean) / scale
    if inverse_penalty is None:
        folds = patient_folds(labels, np.arange(len(labels)) if groups is None else groups, seed)
        inverse_penalty = choose_penalty(standardized, labels, folds, class_weight)
    regression = regression_of(inverse_penalty, class_weight).fit(standardized, labels)
    write_layer(layer, class_rows(regression.coef_) / scale, class_rows(regression.intercept_[:, None])[:, 0], mean)
    return inverse_penalty


def classifier_of(network: Network) -> nn.Linear:
    """The layer that turns embeddings into logits."""
    layer = network.get_submodule(network.classifier)
    if not isinstance(layer, nn.Linear):
        raise ValueError(
            f"a logistic head needs a linear last layer, got {layer} as '{network.classifier}'; "
            f"build the network with num_classes and without a custom head"
        )
    return layer


def check_labels(labels: NDArray[np.integer], num_classes: int) -> None:
    """Require every class from 0 to K - 1: a class without scans has no probability."""
    found = sorted(set(labels.tolist()))
    if found != list(range(num_classes)):
        raise ValueError(f"logistic head: labels must contain every class from 0 to {num_classes - 1}, got {found}")


@torch.no_grad()
def write_layer(layer: nn.Linear, weight: NDArray, bias: NDArray, mean: NDArray) -> None:
    layer.weight.copy_(torch.from_numpy(weight))
    layer.bias.copy_(torch.from_numpy(bias - weight @ mean))


ENTRY = "features"
"""The name of the only tensor in a cache file."""


class FeatureCache:
    """Features of a frozen network on disk, one safetensors file a volume, each computed once.

    Files are named by what they were computed from: a folder for the network (structure and every weight
    before the head), a file for the volume's voxels. Neither can change without the name changing,
    so an old entry is never taken for a new one.
    """

    def __init__(self, folder: Path, network: Network) -> None:
        self.network = network
        self.folder = Path(folder) / fingerprint(network)
        self.folder.mkdir(parents=True, exist_ok=True)

    def features(self, volume: Tensor) -> Tensor:
        """`forward_features` of one volume (C, D, H, W), without its batch axis."""
        path = self.folder / f"{digest(volume)}.safetensors"
        stored = _read_entry(path)
        if stored is not None:
            return stored
        computed = _compute_features(self.network, volume)
        _write_entry(path, computed)
        return computed

    def embedding(self, volume: Tensor) -> Tensor:
        """Pooled embedding (F,) of one volume (C, D, H, W)."""
        return _pool(self.network, self.features(volume))


def fingerprint(network: Network) -> str:
    """A name for the structure of `network` and for all its weights but those of the head."""
    head = {id(parameter) for parameter in network.parameter_groups()["head"]}
    names_in_head = {name for name, parameter in network.named_parameters() if id(parameter) in head}
    hasher = hashlib.sha256(repr(network).encode())
    for name, tensor in network.state_dict().items():
        if name not in names_in_head:
            hasher.update(name.encode())
            hasher.update(_bytes_of(tensor))
    return hasher.hexdigest()[:16]


def digest(volume: Tensor) -> str:
    """A name for the voxels, shape and type of a volume."""
    return hashlib.sha256(f"{tuple(volume.shape)} {volume.dtype}".encode() + _bytes_of(volume)).hexdigest()


def _bytes_of(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


@torch.no_grad()
def _compute_features(network: Network, volume: Tensor) -> Tensor:
    network.eval()
    device = device_of(network)
    return network.forward_features(volume.unsqueeze(0).to(device))[0].cpu()


@torch.no_grad()
def _pool(network: Network, features: Tensor) -> Tensor:
    network.eval()
    device = device_of(network)
    return network.forward_head(features.unsqueeze(0).to(device), pre_logits=True)[0].cpu()


def device_of(network: Network) -> torch.device:
    """Where its weights are; the CPU for a network without any."""
    tensors = chain(network.parameters(), network.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def _read_entry(path: Path) -> Tensor | None:
    """The stored features; none if there are none, or if the file is damaged and must be written again."""
    try:
        return load_file(path)[ENTRY]
    except (FileNotFoundError, SafetensorError):
        return None


def _write_entry(path: Path, features: Tensor) -> None:
    with whole_file(path, is_one_of_many=True) as temporary:
        temporary.write_bytes(save({ENTRY: features.contiguous()}))
