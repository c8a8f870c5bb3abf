"""A chain of changes, each made or left out by chance."""

from collections.abc import Callable
from functools import partial

import numpy as np
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

    `changes` pairs each with its probability.
    """

    def __init__(self, settings: AugmentationSettings) -> None:
        share = STRENGTHS[settings.strength]
        self.changes = [(share * probability, change) for probability, change in full_strength(settings)]
        if settings.flip_axis is not None and share > 0:
            # A mirrored scan is as likely as the scan itself, at any strength.
            self.changes.insert(0, (FLIP_PROBABILITY, partial(flip, axis=settings.flip_axis)))
        if settings.crop_share > 0:
            # Asked for by name, so made always: its size is drawn from none at all to the share.
            self.changes.insert(0, (1.0, partial(random_crop, share=settings.crop_share)))

    def __call__(self, volume: Tensor, rng: np.random.Generator) -> Tensor:
        """A changed copy of a volume (D, H, W), or the volume itself."""
        for probability, change in self.changes:
            if rng.random() < probability:
                volume = change(volume, rng)
        return volume


def full_strength(settings: AugmentationSettings) -> list[tuple[float, Change]]:
    """The allowed changes with their probabilities when augmentation is strong."""
    spacing_mm = settings.spacing_mm
    changes: list[tuple[float, Change]] = [(0.8, partial(turn, axes=settings.rotation_axes, spacing_mm=spacing_mm))]
    if settings.is_deformable:
        changes += [(0.3, deform)]
    if settings.is_mask:
        return changes
    if settings.is_mr:
        changes += [(0.2, bias_field), (0.1, ghosting), (0.1, motion)]
    changes += [(0.2, partial(blur, spacing_mm=spacing_mm)), (0.2, lower_resolution), (0.2, noise)]
    return [*changes, (0.5, scale_and_shift), (0.3, gamma)]
