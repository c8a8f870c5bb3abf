"""Histogram standardization (Nyúl and Udupa): the deciles of each image move to the mean deciles of the training scans.

What is fitted across scans is applied when a scan is loaded, per fold; the store holds none of it.
"""

from collections.abc import Iterable

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from pipeline.imaging.voxel_codes import Volume

Deciles = tuple[float, ...]
LEVELS = tuple(range(10, 100, 10))
"""Percentiles that are matched."""


class MatchHistogram(Transform):
    """Move the deciles of each image (C, D, H, W) to those of the training scans, in place."""

    def __init__(self, standards: tuple[Deciles, ...]) -> None:
        self.standards = standards

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        to_standards(as_numpy(image), self.standards)
        return image


def fit_standards(volumes: Iterable[Volume], num_images: int) -> tuple[Deciles, ...]:
    """Mean deciles of each image over volumes (C, D, H, W); images that a scan lacks do not count."""
    found: list[list[Deciles]] = [[] for _ in range(num_images)]
    for volume in volumes:
        for deciles, image in zip(found, volume, strict=False):
            if image.any():
                deciles.append(deciles_of(image))
    return tuple(tuple(np.mean(deciles or [np.array(LEVELS) / 100], axis=0).tolist()) for deciles in found)


def to_standards(volume: Volume, standards: tuple[Deciles, ...]) -> None:
    """Move the deciles of each image to its standard, in place; channels after the images stay as they are."""
    for image, standard in zip(volume, standards, strict=False):
        if image.any():
            image[:] = np.interp(image, (0, *deciles_of(image), 1), (0, *standard, 1))


def deciles_of(image: Volume) -> Deciles:
    """Of the body, which is what lies above 0."""
    return tuple(np.percentile(image[image > 0], LEVELS).tolist())


def as_numpy(image: torch.Tensor) -> Volume:
    """The voxels of a tensor or a MetaTensor, sharing memory."""
    return (image.as_tensor() if isinstance(image, MetaTensor) else image).numpy()
