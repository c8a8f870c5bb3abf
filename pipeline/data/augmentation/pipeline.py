"""The augmentations that a cohort allows, as one `Compose` of MONAI's random transforms."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, RandomizableTransform, Transform
from torch import Tensor

from pipeline.config import Augmentation as AugmentationConfig
from pipeline.config import Cohort, Plan
from pipeline.data.augmentation.registry import (
    AUGMENTATIONS,
    INTENSITY,
    SPATIAL,
    Augmentation,
    AugmentationSettings,
    Strength,
)

PROBABILITY_SCALE: dict[Strength, float] = {"none": 0.0, "light": 1 / 3, "medium": 2 / 3, "strong": 1.0}
"""Share of the full probability of each augmentation: strength says how often, never how far."""
ANISOTROPIC_FROM = 3.0
"""Ratio of the largest to the smallest spacing from which scans are stacks of slices."""
LARGEST_SEED = 2**32
Change = Callable[[Tensor, np.random.Generator], Tensor]


class RandomAugmentation(RandomizableTransform):
    """A registered augmentation of an image (C, D, H, W), made with its probability.

    Spatial ones are the same in all images of a scan, the others differ; channels after the images, which say what is
    there, stay as they are. Whether it is made is drawn from MONAI's random state, how from a generator seeded by it.
    """

    def __init__(self, entry: Augmentation, prob: float, settings: AugmentationSettings) -> None:
        super().__init__(prob)
        self.entry = entry
        self.num_images = settings.num_images
        self.change = partial(entry.function, **entry.options(settings))

    def __call__(self, image: Tensor) -> Tensor:
        self.randomize(None)
        if not self._do_transform:
            return image
        rng = np.random.default_rng(self.R.randint(LARGEST_SEED, dtype="uint32"))
        voxels = image.as_tensor() if isinstance(image, MetaTensor) else image
        images = list(voxels[: self.num_images])
        if self.entry.kind == SPATIAL:
            changed = apply_same(images, self.change, rng)
        else:
            changed = [self.change(volume, rng) for volume in images]
        stacked = torch.stack([*changed, *voxels[self.num_images :]])
        return MetaTensor(stacked, meta=dict(image.meta)) if isinstance(image, MetaTensor) else stacked


def apply_same(images: list[Tensor], change: Change, rng: np.random.Generator) -> list[Tensor]:
    """The same random change of each image (D, H, W)."""
    state, changed = rng.bit_generator.state, []
    for image in images:
        rng.bit_generator.state = state
        changed.append(change(image, rng))
    return changed


def augmentation_transforms(settings: AugmentationSettings, extra: Sequence[Transform] = ()) -> Compose:
    """What the settings allow, in the order in which it arises: pose, scanner, display; then the user's `extra`."""
    kinds = (SPATIAL,) if settings.is_mask else (SPATIAL, INTENSITY)
    chosen = [entry for kind in kinds for entry in AUGMENTATIONS.entries() if entry.kind == kind]
    transforms = [
        RandomAugmentation(entry, prob, settings)
        for entry in chosen
        if entry.applies(settings) and (prob := probability(entry, settings.strength)) > 0
    ]
    return Compose([*transforms, *extra])


def probability(entry: Augmentation, strength: Strength) -> float:
    """How often the augmentation is made at a strength."""
    return PROBABILITY_SCALE[strength] * entry.prob if entry.follows_strength else entry.prob


def resolve_augmentation(augmentation: AugmentationConfig, cohort: Cohort, plan: Plan) -> AugmentationConfig:
    """What the config leaves to `auto`, from the plan and from the keys of the cohort."""
    auto = {
        "strength": plan.augmentation,
        "flip_left_right": cohort.laterality == "irrelevant",
        "zoom": not cohort.size_is_diagnostic,
    }
    return augmentation.model_copy(
        update={key: value for key, value in auto.items() if getattr(augmentation, key) == "auto"}
    )


def augmentation_settings(resolved: AugmentationConfig, cohort: Cohort, plan: Plan) -> AugmentationSettings:
    """The settings for a cohort; no key of `resolved` is still `auto`."""
    return AugmentationSettings(
        strength=resolved.strength,
        spacing_mm=plan.spacing_mm,
        flip_axis=left_right_axis(plan.orientation) if resolved.flip_left_right else None,
        rotation_axes=rotation_axes(plan.spacing_mm),
        num_images=plan.num_images,
        crop_share=resolved.random_crop,
        is_deformable=resolved.zoom,
        is_mask=cohort.modality == "mask",
        is_mr=cohort.modality == "MR",
    )


def left_right_axis(orientation: str) -> int:
    return next(axis for axis, code in enumerate(orientation) if code in "LR")


def rotation_axes(spacing_mm: tuple[float, float, float]) -> tuple[int, ...]:
    """All three, or only the slice normal where a rotation about another axis would mix thick slices."""
    if max(spacing_mm) / min(spacing_mm) < ANISOTROPIC_FROM:
        return 0, 1, 2
    return (spacing_mm.index(max(spacing_mm)),)
