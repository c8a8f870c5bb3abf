"""Which changes a cohort's training scans may undergo."""

from dataclasses import dataclass
from typing import Literal

from pipeline.config import Augmentation, Cohort, Plan

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
