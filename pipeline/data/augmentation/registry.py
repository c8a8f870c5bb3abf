"""What every augmentation is: a function with a name, a probability, and where it applies.

A function (volume (D, H, W), rng, **options) -> volume of the same shape, registered by `augmentation`, is one entry;
entries act in the order in which they are registered, spatial ones first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from pipeline.core.registry import Registry

SPATIAL, INTENSITY = "spatial", "intensity"
Strength = Literal["none", "light", "medium", "strong"]


@dataclass(frozen=True)
class AugmentationSettings:
    """Everything that the choice of augmentations depends on."""

    strength: Strength
    spacing_mm: tuple[float, float, float]
    """Along (D, H, W)."""
    flip_axis: int | None = None
    """The left-right axis, if scans may be flipped."""
    rotation_axes: tuple[int, ...] = (0, 1, 2)
    """Axes that scans may be rotated about."""
    num_images: int = 1
    """Channels that are images; those after them say which images are there."""
    crop_share: float = 0.0
    """Most that is cut off at a side, as a share of the axis."""
    is_deformable: bool = False
    """May size and shape change?"""
    is_mask: bool = False
    """Masks have no intensities to change."""
    is_mr: bool = False
    """May artifacts appear that only MR has?"""


@dataclass(frozen=True)
class Augmentation:
    """One registered augmentation."""

    name: str
    function: Callable[..., Tensor]
    title: str
    """As a report names it."""
    kind: str
    """SPATIAL: the same for all images of a scan. INTENSITY: drawn for each image."""
    prob: float
    """Probability at strength strong."""
    follows_strength: bool = True
    """Is the probability scaled by the strength?"""
    applies: Callable[[AugmentationSettings], bool] = lambda settings: True
    options: Callable[[AugmentationSettings], dict[str, Any]] = lambda settings: {}


AUGMENTATIONS: Registry[Augmentation] = Registry(
    "augmentation",
    Augmentation,
    built_in=("pipeline.data.augmentation.spatial", "pipeline.data.augmentation.intensity"),
)
augmentation = AUGMENTATIONS.register
