"""Embed the scans of a cohort: a table with a row a scan, of a trained run or of an encoder not trained here.

Axes: C channels, D H W depth height width, F features.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from lightning import seed_everything
from numpy.typing import NDArray

from pipeline.config import Config, Plan
from pipeline.config.load import load_yaml
from pipeline.core.columns import PATIENT_ID, SCAN_ID, SPLIT, TRAIN
from pipeline.core.folds import fold_columns, read_splits, rows_of_fold
from pipeline.core.io import read_json, whole_file
from pipeline.core.paths import Artifacts, CohortPaths, TrainingKey, TrainingPaths
from pipeline.core.progress import show_progress
from pipeline.data.dataset import stored_images
from pipeline.inference.predictor import Predictor
from pipeline.models.network import Network
from pipeline.store.build import plan_hash
from pipeline.store.store import Store
from pipeline.training.auto import build_network, resolve_auto
from pipeline.training.fold_data import fit_intensity
from pipeline.training.linear_probe import FeatureCache, device_of, fingerprint

log = logging.getLogger(__name__)
Layer = Literal["embedding", "stage1", "stage2", "stage3", "stage4"]
"""What the classifier reads, or the mean of a stage's map, finest first."""
EMBEDDING: Layer = "embedding"
FEATURE = "feature_{:04d}"
"""Names of the feature columns, from 0."""


@dataclass(frozen=True)
class Encoder:
    """A network that embeds preprocessed scans, and where it comes from."""

    network: Network
    plan: Plan
    """With the landmarks that its inputs are standardized with, if any."""
    origin: dict[str, Any]
    """For the metadata of the table."""
    is_frozen: bool
    """Did no weight below the head see a label?"""
    key: TrainingKey | None = None
    """Which training it is; None for an encoder that was not trained here."""

    @classmethod
    def of_run(cls, run: Path) -> Self:
        """The network of one training, given by its folder or its checkpoint."""
        checkpoint = TrainingPaths(run).best if run.is_dir() else run
        if not checkpoint.is_file():
            raise FileNotFoundError(
                f"{checkpoint} is missing; name one training, such as runs/NAME/EXPERIMENT/fold-0-seed-0."
            )
        trained = Predictor.load(checkpoint)
        config, is_frozen = trained.config, not trained.config.model.learns_by_gradient
        origin = {
            "experiment": config.name,
            "training": config.training_key.name,
            "trained_on": config.cohort.name,
            "checkpoint_sha256": trained.sha256,
            "learned_from": None if is_frozen else {"cohort": config.cohort.name, "fold": config.fold},
        }
        return cls(trained.network, trained.plan, origin, is_frozen, config.training_key)

    @classmethod
    def of_config(cls, config: Config, cohort: CohortPaths) -> Self:
        """The network that a training of `config` would start from; ValueError if its features say nothing."""
        plan = load_yaml(Plan, cohort.plan)
        config = resolve_auto(config, plan)
        if not (config.model.freeze or config.model.pretrained):
            raise ValueError(
                f"model {config.model.name}: its weights are random until it is trained, expected a frozen or a "
                "pretrained model; train it and give --run, or choose another --config."
            )
        seed_everything(config.seed, workers=True, verbose=False)
        num_classes = len(read_json(cohort.ingest, "classes")["classes"])
        network = build_network(config.model, num_classes=num_classes, in_channels=plan.in_channels)
        rows = rows_of_fold(read_splits(cohort.splits), config.fold)
        plan = fit_intensity(plan, Store(cohort.preprocessed), rows[TRAIN][SCAN_ID])
        nothing = dict.fromkeys(("training", "trained_on", "checkpoint_sha256", "learned_from"))
        origin = {"experiment": config.name, **nothing}
        return cls(network.eval(), plan, origin, is_frozen=True)

    @torch.inference_mode()
    def embed(self, volume: NDArray[np.float32], layer: Layer = EMBEDDING) -> NDArray[np.float32]:
        """A volume (C, D, H, W), standardized, -> its features (F,); alone, so that no other scan changes them."""
        batch = torch.from_numpy(volume)[None].to(device_of(self.network))
        if layer == EMBEDDING:
            return self.network.forward_head(self.network.forward_features(batch), pre_logits=True)[0].cpu().numpy()
        stages = self.network.forward_stages(batch).stages
        names = [f"stage{number}" for number in range(1, len(stages) + 1)]
        if layer not in names:
            raise ValueError(f"layer {layer}: this network has {', '.join(names) or 'no stages'}; choose embedding.")
        return stages[names.index(layer)].float().flatten(2).mean(2)[0].cpu().numpy()


def embed_cohort(encoder: Encoder, cohort: CohortPaths, layer: Layer = EMBEDDING) -> pd.DataFrame:
    """`scan_id, patient_id, split, fold…` of splits.csv and the features of each scan; its origin is in `attrs`."""
    store, splits = Store(cohort.preprocessed), read_splits(cohort.splits)
    check_same_preprocessing(encoder.plan, store, splits[SCAN_ID], cohort.preprocessed)
    features = np.stack(compute(encoder, store, splits[SCAN_ID], cohort, layer)).astype(np.float32)
    bad = ~np.isfinite(features).all(axis=1)
    if bad.any():
        raise ValueError(f"scan '{splits[SCAN_ID][bad].iloc[0]}': its features are not finite; inspect that scan.")
    table = splits[[SCAN_ID, PATIENT_ID, SPLIT, *fold_columns(splits)]].reset_index(drop=True)
    names = [FEATURE.format(number) for number in range(features.shape[1])]
    table = pd.concat([table, pd.DataFrame(features, columns=names)], axis=1)
    table.attrs = {
        **encoder.origin,
        "cohort": cohort.folder.name,
        "layer": layer,
        "network": fingerprint(encoder.network),
        "preprocessing_sha256": plan_hash(encoder.plan),
        "scans_sha256": store.fingerprint(splits[SCAN_ID]),
    }
    return table


def compute(
    encoder: Encoder, store: Store, scan_ids: pd.Series, cohort: CohortPaths, layer: Layer
) -> list[NDArray[np.float32]]:
    """Features (F,) of each scan; those that training of a frozen network has computed come from its cache."""
    images = show_progress(stored_images(store, scan_ids, encoder.plan.standards), len(scan_ids), "embed")
    if encoder.is_frozen and layer == EMBEDDING:
        cache = FeatureCache(cohort.features, encoder.network)
        return [cache.embedding(torch.from_numpy(image)).numpy() for image in images]
    return [encoder.embed(image, layer) for image in images]


def check_same_preprocessing(plan: Plan, store: Store, scan_ids: pd.Series, folder: Path) -> None:
    """ValueError if a stored scan is missing, or was made by another plan than the network is used to."""
    for scan_id in scan_ids:
        record = store.record(scan_id)
        if record is None:
            raise ValueError(f"{folder}: scan '{scan_id}' is missing or damaged; 'dvc repro preprocess' writes it.")
        if record.plan_sha256 != plan_hash(plan):
            raise ValueError(
                f"{folder}: scan '{scan_id}' was preprocessed by another plan than the network expects; preprocess the "
                "cohort with the network's own orientation, spacing, size and intensity, or embed another run."
            )


def write_embeddings(path: Path, table: pd.DataFrame) -> None:
    """A Parquet file; `pandas.read_parquet` gives the table back with its `attrs`."""
    with whole_file(path) as temporary:
        table.to_parquet(temporary, index=False)


def embedding_file(paths: Artifacts, cohort: str, encoder: Encoder, layer: Layer) -> Path:
    """Where the table is written unless told otherwise: with its run, or with the cohort."""
    experiment, training = encoder.origin["experiment"], encoder.origin["training"]
    if encoder.key and encoder.origin["trained_on"] == cohort and layer == EMBEDDING:
        return paths.run(cohort, experiment).features(encoder.key)
    parts = (experiment, training, None if layer == EMBEDDING else layer)
    return paths.cohort(cohort).embeddings("-".join(part for part in parts if part))
