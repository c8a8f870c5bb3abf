"""Which changes a cohort's training scans may undergo."""

from dataclasses import dataclass
from typing import Literal

from pipeline.config import Augmentation, Cohort, Plan

Strength = Literal["none", "light", "medium", "strong"]
STRENGTHS: dict[Strength, float] = {"none": 0.0, "light": 1 / 3, "medium": 2 / 3, "strong": 1.0}
"""Share of the full probability of each change: strength says how often, never how far."""
STRONG_BELOW_PATIENTS, MEDIUM_UP_TO_PATIENTS = 200, 1000
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


def settle_augmentation(
    augmentation: Augmentation, cohort: Cohort, plan: Plan, num_patients: int
) -> AugmentationSettings:
    """Decide what the config leaves to `auto`; `num_patients` are those of the training set."""
    flip = augmentation.flip_left_right
    zoom = augmentation.zoom
    return AugmentationSettings(
        strength=strength_for(num_patients) if augmentation.strength == "auto" else augmentation.strength,
        spacing_mm=plan.spacing_mm,
        flip_axis=left_right_axis(plan.orientation)
        if (cohort.laterality == "irrelevant" if flip == "auto" else flip)
        else None,
        rotation_axes=rotation_axes(plan.spacing_mm),
        num_images=plan.num_images,
        crop_share=augmentation.random_crop,
        is_deformable=not cohort.size_is_diagnostic if zoom == "auto" else zoom,
        is_mask=cohort.modality == "mask",
        is_mr=cohort.modality == "MR",
    )


def strength_for(num_patients: int) -> Strength:
    """The fewer the patients, the more often each scan is changed."""
    if num_patients < STRONG_BELOW_PATIENTS:
        return "strong"
    return "medium" if num_patients <= MEDIUM_UP_TO_PATIENTS else "light"


def left_right_axis(orientation: str) -> int:
    return next(axis for axis, code in enumerate(orientation) if code in "LR")


def rotation_axes(spacing_mm: tuple[float, float, float]) -> tuple[int, ...]:
    """All three, or only the slice normal where turning about another would mix thick slices."""
    if max(spacing_mm) / min(spacing_mm) < ANISOTROPIC_FROM:
        return 0, 1, 2
    return (spacing_mm.index(max(spacing_mm)),)
