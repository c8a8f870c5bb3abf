"""What is written with MONAI: the experiment of `benchmarks/training.py`, and the tutorial of `benchmarks/accuracy.py`.

CacheDataset, stock transforms, a plain loop.
"""

import logging
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from pipeline.config import Plan, Training
from pipeline.training.optim import cosine_with_warmup
from pipeline.training.targets import validation_auroc

log = logging.getLogger("pipeline.training.trainer")
"""Where the pipeline's own epochs are told."""
WORKERS = 0
"""Loading processes."""
Epochs = list[tuple[float, float]]
"""After each epoch: seconds since the raw scans, and the validation AUROC."""


def train_with_monai(
    network: nn.Module, plan: Plan, training: Training, rows: dict[str, pd.DataFrame], raw: Path, seed: int, kept: Path
) -> Epochs:
    """A training of `max_epochs` from raw scans on.

    The best weights go to `kept`, as in MONAI's tutorials. `rows` are tables of `train` and `val` with columns path and
    label (class index). The schedule and the optimizer's settings are the pipeline's, the optimizer is torch's as it
    comes.
    """
    from monai.data import CacheDataset, DataLoader
    from monai.utils import set_determinism

    set_determinism(seed)
    epochs: Epochs = []
    start = time.perf_counter()
    load, change = stock_transforms(plan)
    items = {
        side: [{"volume": str(raw / row.path), "label": row.label} for row in rows[side].itertuples()] for side in rows
    }
    train = CacheDataset(items["train"], [*load, *change], num_workers=os.cpu_count(), progress=False)
    val = CacheDataset(items["val"], load, num_workers=os.cpu_count(), progress=False)
    # By keyword: MONAI's loader has another second argument than torch's.
    batches = {"batch_size": training.batch_size, "num_workers": WORKERS}
    loaders = DataLoader(train, shuffle=True, **batches), DataLoader(val, **batches)
    optimizer = torch.optim.AdamW(network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
    num_updates = training.max_epochs * len(loaders[0])
    schedule = cosine_with_warmup(optimizer, num_updates=num_updates, warmup_fraction=training.warmup_fraction)
    for epoch in range(1, training.max_epochs + 1):
        for batch in loaders[0]:
            step(network, optimizer, batch["volume"].as_tensor(), batch["label"], training.clip_norm)
            schedule.step()
        auroc = validate(network, loaders[1])
        if auroc >= max([best for _, best in epochs], default=0):
            torch.save(network.state_dict(), kept)
        log.info("MONAI: epoch %d/%d  val_auroc %.3f", epoch, training.max_epochs, auroc)
        epochs.append((time.perf_counter() - start, auroc))
    return epochs


def stock_transforms(plan: Plan) -> tuple[list[Callable], list[Callable]]:
    """What prepares a scan of MR as a plan without a crop does, and what changes it as light augmentation does."""
    from monai import transforms as stock

    load = [
        stock.LoadImaged("volume"),
        stock.EnsureChannelFirstd("volume"),
        stock.Orientationd("volume", axcodes=plan.orientation),
        stock.Spacingd("volume", pixdim=plan.spacing_mm),
        stock.ResizeWithPadOrCropd("volume", spatial_size=plan.size_voxels),
        stock.NormalizeIntensityd("volume", nonzero=True),
    ]
    quarter = 0.26
    change = [
        stock.RandFlipd("volume", prob=0.5, spatial_axis=2),
        stock.RandRotated("volume", prob=0.27, range_x=quarter, range_y=quarter, range_z=quarter),
        stock.RandBiasFieldd("volume", prob=0.07),
        stock.RandGaussianSmoothd("volume", prob=0.07),
        stock.RandGaussianNoised("volume", prob=0.07, std=0.1),
        stock.RandScaleIntensityd("volume", factors=0.1, prob=0.17),
        stock.RandAdjustContrastd("volume", prob=0.1, gamma=(0.7, 1.5)),
    ]
    return load, change


def step(
    network: nn.Module, optimizer: torch.optim.Optimizer, volume: torch.Tensor, label: torch.Tensor, clip_norm: float
) -> None:
    """One update, as everybody writes it."""
    network.train()
    loss = nn.functional.cross_entropy(network(volume), label)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
    optimizer.step()


def validate(network: nn.Module, loader: torch.utils.data.DataLoader) -> float:
    """AUROC over all scans of a loader."""
    return validation_auroc(*predict(network, loader))


@torch.no_grad()
def predict(network: nn.Module, loader: torch.utils.data.DataLoader) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities and labels of all scans of a loader."""
    network.eval()
    outcomes = [(network(batch["volume"].as_tensor()).softmax(1), batch["label"]) for batch in loader]
    probs, labels = (torch.cat(column) for column in zip(*outcomes, strict=True))
    return probs, labels


DENSENET_SIZE, DENSENET_EPOCHS, DENSENET_BATCH, DENSENET_RATE = 96, 15, 2, 1e-4
"""MONAI's tutorial on classification in 3D, with three times its epochs: the best one is picked on validation."""


def train_densenet(
    rows: dict[str, pd.DataFrame], raw: Path, seed: int, *, size: int = DENSENET_SIZE, epochs: int = DENSENET_EPOCHS
) -> tuple[list[float], int]:
    """DenseNet121 as in MONAI's tutorial: probabilities of the last of two classes for `test`, and parameters.

    `rows` are tables of train, val and test with columns path and label (class index). Intensities go to 0..1, volumes
    to a cube of `size`, training volumes are turned by right angles; Adam, no schedule.
    """
    from monai.data import CacheDataset, DataLoader
    from monai.networks.nets import DenseNet121
    from monai.transforms import EnsureChannelFirstd, LoadImaged, RandRotate90d, Resized, ScaleIntensityd
    from monai.utils import set_determinism

    set_determinism(seed)
    load = [LoadImaged("volume"), ScaleIntensityd("volume"), EnsureChannelFirstd("volume")]
    load += [Resized("volume", spatial_size=(size, size, size))]
    loaders = {}
    for side, table in rows.items():
        items = [
            {"volume": str(raw / path), "label": label} for path, label in zip(table.path, table.label, strict=True)
        ]
        change = [RandRotate90d("volume", prob=0.1, spatial_axes=(0, 2))] if side == "train" else []
        cached = CacheDataset(items, [*load, *change], num_workers=os.cpu_count(), progress=False)
        loaders[side] = DataLoader(cached, batch_size=DENSENET_BATCH, shuffle=side == "train", num_workers=WORKERS)
    network = DenseNet121(spatial_dims=3, in_channels=1, out_channels=2)
    optimizer = torch.optim.Adam(network.parameters(), lr=DENSENET_RATE)
    best, kept = -1.0, network.state_dict()
    for epoch in range(epochs):
        for batch in loaders["train"]:
            step(network, optimizer, batch["volume"].as_tensor(), batch["label"], clip_norm=math.inf)
        auroc = validate(network, loaders["val"])
        log.info("MONAI's DenseNet121: epoch %d/%d  val_auroc %.3f", epoch + 1, epochs, auroc)
        if auroc > best:
            best, kept = auroc, {name: weights.clone() for name, weights in network.state_dict().items()}
    network.load_state_dict(kept)
    probs, _ = predict(network, loaders["test"])
    return probs[:, 1].tolist(), sum(parameter.numel() for parameter in network.parameters())
