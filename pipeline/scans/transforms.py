"""Preprocessing as MONAI transforms, for a `Compose` of one's own.

    Compose([LoadImage(), EnsureChannelFirst(), ToNetworkGrid(plan), ScaleToPlan(plan)])

Images are MetaTensors with a channel in front; axes (1, X, Y, Z) go in, (1, D, H, W) come out.
"""

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, Transform
from numpy.typing import NDArray

from pipeline.config import Plan
from pipeline.scans.foreground import find_foreground
from pipeline.scans.geometry import Affine, Grid
from pipeline.scans.intensity import scale_intensity
from pipeline.scans.preprocessing import plan_grid
from pipeline.scans.resampling import resample, to_original_grid

THRESHOLD = "foreground_threshold"
"""Key of the meta data where the geometric step leaves what the intensity step needs: None without empty space."""


class ToNetworkGrid(InvertibleTransform):
    """Orientation, spacing, crop and size in one resampling; the inverse puts an array back on the scan's own grid."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def __call__(self, image: MetaTensor) -> MetaTensor:
        array, affine = voxels(image)
        foreground = find_foreground(array, self.plan.intensity)
        target = plan_grid(Grid(array.shape, affine), foreground, self.plan)
        resampled = resample(array, affine, target, fill=foreground.background)
        prepared = like(image, resampled, target.affine)
        prepared.meta[THRESHOLD] = foreground.threshold
        self.push_transform(prepared, orig_size=array.shape, extra_info={"affine": affine})
        return prepared

    def inverse(self, image: MetaTensor) -> MetaTensor:
        applied = self.pop_transform(image)
        array, affine = voxels(image)
        original_shape, original_affine = tuple(applied["orig_size"]), applied["extra_info"]["affine"]
        return like(image, to_original_grid(array, affine, original_shape, original_affine), original_affine)


class ScaleToPlan(Transform):
    """The plan's intensity scheme, after `ToNetworkGrid`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def __call__(self, image: MetaTensor) -> MetaTensor:
        array, affine = voxels(image)
        threshold = image.meta[THRESHOLD]
        foreground = array > (threshold if threshold is not None else -float("inf"))
        return like(image, scale_intensity(array, self.plan.intensity, foreground), affine)


def voxels(image: MetaTensor) -> tuple[NDArray, Affine]:
    """The only channel and the affine, sharing memory with the image."""
    if image.shape[0] != 1:
        raise ValueError(f"image: expected one channel, (1, X, Y, Z), got shape {tuple(image.shape)}.")
    return image.as_tensor()[0].numpy(), image.affine.numpy().astype(np.float64)


def like(image: MetaTensor, array: NDArray[np.float32], affine: Affine) -> MetaTensor:
    """Other voxels on another grid with the image's meta data and history."""
    return MetaTensor(
        torch.from_numpy(array)[None],
        meta={**image.meta, "affine": torch.from_numpy(affine)},
        applied_operations=list(image.applied_operations),
    )
