"""Section `preprocess`: from a raw scan to the network's input."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from pipeline.config.intensity import Intensity
from pipeline.config.section import Auto, Millimeters, Section, Voxels
from pipeline.config.transform_spec import TransformSpec


class Preprocess(Section):
    """From a raw scan to the network's input; `auto` is decided by the plan stage and written to plan.yaml."""

    orientation: Auto | Annotated[str, Field(pattern=r"^[RLAPIS]{3}$")] = "auto"
    """Where the axes (D, H, W) point, e.g. SPL: axial slices in radiological view."""
    spacing_mm: Auto | Millimeters = "auto"
    """Voxel size along (D, H, W)."""
    size_voxels: Auto | Voxels = "auto"
    """Input size along (D, H, W); the scan is cropped or padded to it, never stretched."""
    crop: Auto | Literal["foreground", "center", "mask", "point"] = "auto"
    """What the input is centered on: the body's box, the scan's middle, columns.crop_mask or columns.crop_center_mm."""
    tilt: Literal["keep", "straighten"] = "keep"
    """A scan acquired at an angle keeps its own axes, or is interpolated along the scanner's."""
    bias_correction: Literal["none", "n4"] = "none"
    """MR: even out the coils' sensitivity before anything else; some seconds per scan, and needs SimpleITK."""
    intensity: Auto | Intensity = "auto"
    """How voxel values are scaled."""
    extra: tuple[TransformSpec, ...] = ()
    """Further transforms by name, after normalization: a class of monai.transforms with its arguments, or your own."""
    max_voxels: Auto | PositiveInt = "auto"
    """Largest input that `auto` may plan; auto: what this machine trains in reasonable time."""
