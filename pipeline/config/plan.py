"""`plan.yaml`: what the plan stage decides."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, NonNegativeFloat, PositiveFloat, PositiveInt

from pipeline.config.ingest import SPACING_RANGE_MM
from pipeline.config.intensity import Intensity
from pipeline.config.section import Millimeters, Section, Voxels
from pipeline.config.transform_spec import TransformSpec

EFFECTIVE_BATCH = 8
"""Scans per update, reached by accumulation."""

Member = Literal[
    "efficientnet",
    *("coarse_volume", "random_conv", "random_conv_grid"),
    *("shape", "distance_conv", "distance_coarse"),
]
"""Frozen 2D features of ImageNet; of intensities the coarse volume, and random 3D convolutions over the whole volume or
in the cells of a grid; of a mask its shape, and random convolutions and the coarse volume of its distance map."""


def num_channels(channels: Sequence[str], missing_channel: str) -> int:
    """Channels of the input: the images and, if channels may be missing, as many masks that say which are present."""
    return max(1, len(channels)) * (2 if missing_channel == "zero" else 1)


class CostEstimate(Section):
    """What the plan will cost on this machine; rough, from a short probe."""

    disk_mb: NonNegativeFloat
    """Preprocessed scans of the whole cohort."""
    memory_mb: NonNegativeFloat
    """Peak of one training step beyond the libraries."""
    seconds_per_epoch: NonNegativeFloat
    """One pass over the training scans of one fold."""
    hours_per_fold: NonNegativeFloat
    """max_epochs of them."""


class ReferenceRanges(Section):
    """What is usual for the development scans of a cohort, by which a new scan is compared with them."""

    num_scans: PositiveInt
    ranges: dict[str, tuple[FiniteFloat, FiniteFloat]]
    """5th and 95th percentile by quantity: voxel size, field of view, voxels, values."""
    orientations: tuple[str, ...]
    """Directions of the axes in the files, such as LPS."""


class Plan(Section):
    """`plan.yaml`: the values of every `auto` in `preprocess`, `model` and `training`, with a reason per line."""

    orientation: Annotated[str, Field(pattern=r"^[RLAPIS]{3}$")]
    spacing_mm: Millimeters
    size_voxels: Voxels
    crop: Literal["foreground", "center", "mask", "point"]
    tilt: Literal["keep", "straighten"] = "keep"
    bias_correction: Literal["none", "n4"] = "none"
    intensity: Intensity
    fill_nonfinite: FiniteFloat | None = None
    """Value for NaN and infinite voxels, from the cohort's ingest section."""
    spacing_range_mm: tuple[PositiveFloat, PositiveFloat] = SPACING_RANGE_MM
    """Voxel sizes that a scan may have, from the cohort's ingest section."""
    channels: tuple[str, ...] = ()
    """Columns of the label table that name one file each; empty if a scan is one file."""
    missing_channel: Literal["reject", "zero"] = "reject"
    """From the cohort's ingest section."""
    extra: tuple[TransformSpec, ...] = ()
    """Transforms of the cohort's preprocess section, after normalization."""
    standards: tuple[tuple[float, ...], ...] = ()
    """Mean deciles of each image over the training scans of a fold, for the scheme histogram; only training sets it."""
    batch_size: PositiveInt
    accumulate: PositiveInt
    max_epochs: PositiveInt
    max_epochs_from: Literal["steps", "cpu_hours", "user"] = "steps"
    """What max_epochs follows from: a number of steps, the hours that a CPU affords, or the user's edit of the plan."""
    patience: PositiveInt | None = None
    """Epochs without improvement after which training may stop."""
    stem_stride: Voxels = (4, 4, 4)
    """First downsampling along (D, H, W) that leaves two tokens per axis in the last of four stages."""
    time_budget_hours: PositiveFloat = 1.0
    """Longest time in which the members of a stack may compute the features of all scans; edit it, and plan again."""
    members: tuple[Member, ...] = ()
    """Members of the stack, those that fit into the time budget."""
    model: Literal["stack", "frozen_2d", "lora_2d", "network_3d"] = "frozen_2d"
    """What `model.name: auto` means: a stack of `members`, frozen 2D features alone, 2D slices with low-rank updates,
    or a 3D network."""
    augmentation: Literal["none", "light", "medium", "strong"] = "medium"
    """What `augmentation.strength: auto` means."""
    cost_estimate: CostEstimate | None = None
    reference: ReferenceRanges | None = None
    """Written anew each time, not meant for editing; None for a few scans."""
    measured: tuple[str, ...] = ()
    """Development scans whose voxels were read; of all others only the header was."""
    reasons: dict[str, str]
    digests: dict[str, str] = {}
    """Digest of each line as planned; a line with another digest was edited by hand."""

    @property
    def is_length_by_steps(self) -> bool:
        """Whether larger batches need more epochs, because the epochs stand for a number of steps."""
        return self.max_epochs_from == "steps"

    @property
    def num_images(self) -> int:
        """Number of files per scan, which are the first channels of the input."""
        return max(1, len(self.channels))

    @property
    def in_channels(self) -> int:
        return num_channels(self.channels, self.missing_channel)
