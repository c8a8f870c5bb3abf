"""A chain of changes, each made or left out by chance."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pipeline.loading.augmentation.degradations import blur, lower_resolution, noise
from pipeline.loading.augmentation.mr_artifacts import bias_field, ghosting, motion
from pipeline.loading.augmentation.settings import STRENGTHS, AugmentationSettings
from pipeline.loading.augmentation.spatial import deform, flip, random_crop, turn
from pipeline.loading.augmentation.tones import gamma, scale_and_shift

Change = Callable[[Tensor, np.random.Generator], Tensor]
FLIP_PROBABILITY = 0.5


class Augmenter:
    """Apply the changes that the settings allow, in the order in which they would arise: pose, scanner, display.

    Changes of place are the same in all channels of a scan, the others differ; channels after the images, which say
    what is there, stay as they are. `places` and `looks` pair each change with its probability.
    """

    def __init__(self, settings: AugmentationSettings) -> None:
        share = STRENGTHS[settings.strength]
        self.num_images = settings.num_images
        self.places = [(share * probability, change) for probability, change in changes_of_place(settings)]
        self.looks = [(share * probability, change) for probability, change in changes_of_look(settings)]
        if settings.flip_axis is not None and share > 0:
            # A mirrored scan is as likely as the scan itself, at any strength.
            self.places.insert(0, (FLIP_PROBABILITY, partial(flip, axis=settings.flip_axis)))
        if settings.crop_share > 0:
            # Asked for by name, so made always: its size is drawn from none at all to the share.
            self.places.insert(0, (1.0, partial(random_crop, share=settings.crop_share)))

    def __call__(self, volume: Tensor, rng: np.random.Generator) -> Tensor:
        """A changed copy of a volume (C, D, H, W), or the volume itself."""
        images = list(volume[: self.num_images])
        for probability, change in self.places:
            if rng.random() < probability:
                images = alike(images, change, rng)
        for probability, change in self.looks:
            if rng.random() < probability:
                images = [change(image, rng) for image in images]
        return torch.stack([*images, *volume[self.num_images :]])


def alike(images: list[Tensor], change: Change, rng: np.random.Generator) -> list[Tensor]:
    """The same random change of each image (D, H, W)."""
    state, changed = rng.bit_generator.state, []
    for image in images:
        rng.bit_generator.state = state
        changed.append(change(image, rng))
    return changed


def changes_of_place(settings: AugmentationSettings) -> list[tuple[float, Change]]:
    """Where things lie, with the probability of each change when augmentation is strong."""
    turning = partial(turn, axes=settings.rotation_axes, spacing_mm=settings.spacing_mm)
    return [(0.8, turning), *([(0.3, deform)] if settings.is_deformable else [])]


def changes_of_look(settings: AugmentationSettings) -> list[tuple[float, Change]]:
    """How things look, with the probability of each change when augmentation is strong; none for masks."""
    if settings.is_mask:
        return []
    of_scanner = [(0.2, bias_field), (0.1, ghosting), (0.1, motion)] if settings.is_mr else []
    of_sharpness = [(0.2, partial(blur, spacing_mm=settings.spacing_mm)), (0.2, lower_resolution), (0.2, noise)]
    return [*of_scanner, *of_sharpness, (0.5, scale_and_shift), (0.3, gamma)]
