"""Histogram matching to the training scans (Nyúl, Udupa & Zhang, doi:10.1109/42.836373).

Prepared images have their body between 0 and 1 and empty space at 0. The deciles of each body are moved to the mean
deciles of the training scans, and all between them in proportion. It is learned, so it belongs to a fold: the store
holds scans without it.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Volume = NDArray[np.float32]
Deciles = tuple[float, ...]
LEVELS = tuple(range(10, 100, 10))
"""Percentiles that are matched."""


def fit_standards(volumes: Iterable[Volume], num_images: int) -> tuple[Deciles, ...]:
    """Mean deciles of each image over volumes (C, D, H, W); images that a scan lacks do not count."""
    found: list[list[Deciles]] = [[] for _ in range(num_images)]
    for volume in volumes:
        for deciles, image in zip(found, volume, strict=False):
            if image.any():
                deciles.append(deciles_of(image))
    return tuple(tuple(np.mean(deciles or [np.array(LEVELS) / 100], axis=0).tolist()) for deciles in found)


def deciles_of(image: Volume) -> Deciles:
    """Of the body, which is what lies above 0."""
    return tuple(np.percentile(image[image > 0], LEVELS).tolist())


def to_standards(volume: Volume, standards: tuple[Deciles, ...]) -> None:
    """Move the deciles of each image to its standard, in place; channels after the images stay as they are."""
    for image, standard in zip(volume, standards, strict=False):
        if image.any():
            image[:] = np.interp(image, (0, *deciles_of(image), 1), (0, *standard, 1))
