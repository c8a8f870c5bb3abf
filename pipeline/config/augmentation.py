"""Section `augmentation`: random changes to training scans."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat

from pipeline.config.section import Auto, Section
from pipeline.config.transform_spec import TransformSpec


class Augmentation(Section):
    """Random changes to training scans; each is a function of (seed, epoch, scan)."""

    strength: Auto | Literal["none", "light", "medium", "strong"] = "auto"
    """auto: the plan's, which is strong under 200 training patients, medium to 1,000, light above."""
    flip_left_right: Auto | bool = "auto"
    """auto: only where the cohort's laterality is irrelevant."""
    zoom: Auto | bool = "auto"
    """auto: only where size is not diagnostic."""
    random_crop: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Largest share of an axis that is cut off at one side and padded at the other; 0: off."""
    mixup: NonNegativeFloat = 0.0
    """Alpha of the Beta distribution by which two scans of a batch and their labels are blended; 0: off."""
    cutmix: NonNegativeFloat = 0.0
    """The same for a box of one scan pasted into another; 0: off."""
    extra: tuple[TransformSpec, ...] = ()
    """Further transforms by name, after the others: a class of monai.transforms with its arguments, or your own."""
