"""Training without a gradient: a logistic head on the features of a frozen network.

The strongest choice under some 200 patients. Features are computed once a scan and kept beside the cohort.
"""

import logging

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pipeline.core.columns import LABEL, PATIENT_ID, SCAN_ID, TRAIN, VAL
from pipeline.core.paths import CohortPaths
from pipeline.imaging.intensity import to_standards
from pipeline.models.frozen.features import FeatureCache
from pipeline.models.frozen.logistic_head import fit_logistic_head
from pipeline.models.network import Network
from pipeline.store.store import Store
from pipeline.training.fold import Fold
from pipeline.training.keeping.keeping import Keeping
from pipeline.training.objective.losses import plain_loss
from pipeline.training.objective.tasks import scan_auroc, with_targets

log = logging.getLogger(__name__)


def fit_frozen(network: Network, fold: Fold, keeping: Keeping, paths: CohortPaths, seed: int) -> None:
    """Fit the head on the training scans and keep the network as best and last checkpoint."""
    store, cache = Store(paths.preprocessed), FeatureCache(paths.features, network)

    def embed(rows: pd.DataFrame) -> torch.Tensor:
        return cache.embeddings(torch.from_numpy(load(scan_id)) for scan_id in rows[SCAN_ID])

    def load(scan_id: str) -> NDArray[np.float32]:
        volume, _ = store.read(scan_id)
        to_standards(volume, fold.plan.standards)
        return volume

    train, val = fold.rows[TRAIN], fold.rows[VAL]
    refuse_several_labels(fold)
    labels = {
        side: with_targets(fold.rows[side], fold.classes, fold.task)[LABEL].to_numpy(copy=True) for side in (TRAIN, VAL)
    }
    features = {TRAIN: embed(train), VAL: embed(val)}
    penalty = fit_logistic_head(
        network,
        features[TRAIN].numpy(),
        labels[TRAIN],
        groups=train[PATIENT_ID].to_numpy(),
        class_weight="balanced" if fold.training.class_weights == "balanced" else None,
        seed=seed,
    )
    logits = {side: head_logits(network, features[side]) for side in features}
    loss = plain_loss(fold.task)
    losses = {f"{side}_loss": float(loss(logits[side], torch.from_numpy(labels[side]))) for side in (TRAIN, VAL)}
    auroc = scan_auroc(logits[VAL].softmax(1), torch.from_numpy(labels[VAL]))
    log.info("logistic head, inverse penalty %g: val_loss %.3f  val_auroc %.3f", penalty, losses["val_loss"], auroc)
    keeping.keep_only(network.state_dict(), {**losses, "val_auroc": auroc})


def refuse_several_labels(fold: Fold) -> None:
    """A logistic head gives each scan one class."""
    if fold.task == "multilabel":
        raise ValueError(
            "model.freeze: a logistic head gives each scan one class, got the task multilabel; "
            "set model.freeze=false, with model.lora to keep most weights as they are."
        )


@torch.no_grad()
def head_logits(network: Network, embeddings: torch.Tensor) -> torch.Tensor:
    """The last layer alone on pooled embeddings (B, F) -> (B, K)."""
    return network.get_submodule(network.classifier)(embeddings)
