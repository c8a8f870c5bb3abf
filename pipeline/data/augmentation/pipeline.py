"""Which augmentations a cohort allows, and the chain that applies them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pipeline.config import Augmentation, Cohort, Plan
from pipeline.data.augmentation.intensity import (
    bias_field,
    blur,
    gamma,
    ghosting,
    lower_resolution,
    motion,
    noise,
    scale_and_shift,
)
from pipeline.data.augmentation.spatial import deform, flip, random_crop, turn

Strength = Literal["none", "light", "medium", "strong"]
STRENGTHS: dict[Strength, float] = {"none": 0.0, "light": 1 / 3, "medium": 2 / 3, "strong": 1.0}
"""Share of the full probability of each change: strength says how often, never how far."""
ANISOTROPIC_FROM = 3.0
"""Ratio of the largest to the smallest spacing from which scans are stacks of slices."""


@dataclass(frozen=True)
class AugmentationSettings:
    """Everything that an `Augmenter` depends on."""

    strength: Strength
    spacing_mm: tuple[float, float, float]
    """Along (D, H, W)."""
    flip_axis: int | None = None
    """The left-right axis where it may be flipped."""
    rotation_axes: tuple[int, ...] = (0, 1, 2)
    """Axes that scans may be turned about."""
    num_images: int = 1
    """Channels that are images; those after them say which are there."""
    crop_share: float = 0.0
    """Most that is cut off at a side, as a share of the axis."""
    is_deformable: bool = False
    """May size and shape change?"""
    is_mask: bool = False
    """Masks have no tones: they only move."""
    is_mr: bool = False
    """May it show what only happens in MR?"""


def decide_augmentation(augmentation: Augmentation, cohort: Cohort, plan: Plan) -> Augmentation:
    """What the config leaves to `auto`, from the plan and from what the cohort says of itself."""
    auto = {
        "strength": plan.augmentation,
        "flip_left_right": cohort.laterality == "irrelevant",
        "zoom": not cohort.size_is_diagnostic,
    }
    return augmentation.model_copy(
        update={key: value for key, value in auto.items() if getattr(augmentation, key) == "auto"}
    )


def augmentation_settings(decided: Augmentation, cohort: Cohort, plan: Plan) -> AugmentationSettings:
    """Everything an `Augmenter` needs to know; nothing in `decided` is still `auto`."""
    return AugmentationSettings(
        strength=decided.strength,
        spacing_mm=plan.spacing_mm,
        flip_axis=left_right_axis(plan.orientation) if decided.flip_left_right else None,
        rotation_axes=rotation_axes(plan.spacing_mm),
        num_images=plan.num_images,
        crop_share=decided.random_crop,
        is_deformable=decided.zoom,
        is_mask=cohort.modality == "mask",
        is_mr=cohort.modality == "MR",
    )


def left_right_axis(orientation: str) -> int:
    return next(axis for axis, code in enumerate(orientation) if code in "LR")


def rotation_axes(spacing_mm: tuple[float, float, float]) -> tuple[int, ...]:
    """All three, or only the slice normal where turning about another would mix thick slices."""
    if max(spacing_mm) / min(spacing_mm) < ANISOTROPIC_FROM:
        return 0, 1, 2
    return (spacing_mm.index(max(spacing_mm)),)


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
