"""Preprocessing as MONAI transforms, for a `Compose` of one's own.

    Compose([LoadImage(), EnsureChannelFirst(), CorrectBias(), ToNetworkGrid(plan), ScaleToPlan(plan)])

Images are MetaTensors with channels in front; axes (C, X, Y, Z) go in, (C, D, H, W) come out. The geometric step is
invertible; those that change intensities are not, for they clip.
"""

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, Transform
from numpy.typing import NDArray

from pipeline.config import Plan
from pipeline.imaging.cropping import focus_of
from pipeline.imaging.foreground import find_foreground, is_body
from pipeline.imaging.geometry import Affine, Grid
from pipeline.imaging.intensity import Deciles, correct_bias, scale_intensity, to_standards
from pipeline.imaging.io.discover import ScanFiles
from pipeline.imaging.preprocessing import NOT_ON_DISK, plan_grid
from pipeline.imaging.resampling import resample, to_original_grid

THRESHOLDS = "foreground_thresholds"
"""Key of the meta data where the geometric step leaves what the intensity step needs of each channel: where its body
begins, None without empty space."""


class CorrectBias(Transform):
    """N4 on the raw scan; its values are changed for good, its grid is not."""

    def __call__(self, image: MetaTensor) -> MetaTensor:
        channels, affine = voxels(image)
        return like(image, np.stack([correct_bias(channel) for channel in channels]), affine)


class ToNetworkGrid(InvertibleTransform):
    """Orientation, spacing, crop and size in one resampling; the inverse puts an array back on the scan's own grid.

    Beyond the edge of a scan without empty space there is NaN, which `ScaleToPlan` takes away.

    `files` say what to crop to, if the plan crops to a mask or a point.
    """

    def __init__(self, plan: Plan, files: ScanFiles = NOT_ON_DISK) -> None:
        self.plan = plan
        self.files = files

    def __call__(self, image: MetaTensor) -> MetaTensor:
        channels, affine = voxels(image)
        bodies = [find_foreground(channel, self.plan.intensity) for channel in channels]
        grid = Grid(channels.shape[1:], affine)
        target = plan_grid(grid, focus_of(self.files, grid, bodies[0], self.plan), self.plan)
        resampled = [
            resample(channel, affine, target, fill=body.background)
            for channel, body in zip(channels, bodies, strict=True)
        ]
        prepared = like(image, np.stack(resampled), target.affine)
        prepared.meta[THRESHOLDS] = [body.threshold for body in bodies]
        self.push_transform(prepared, orig_size=grid.shape, extra_info={"affine": affine})
        return prepared

    def inverse(self, image: MetaTensor) -> MetaTensor:
        applied = self.pop_transform(image)
        channels, affine = voxels(image)
        shape, own_affine = tuple(applied["orig_size"]), applied["extra_info"]["affine"]
        # NaN would spread into the scan, whose last voxels lie between it and the first ones outside.
        filled = [np.where(np.isnan(channel), np.nanmean(channel), channel) for channel in channels]
        back = [to_original_grid(channel.astype(np.float32), affine, shape, own_affine) for channel in filled]
        return like(image, np.stack(back), own_affine)


class ScaleToPlan(Transform):
    """The plan's intensity scheme, after `ToNetworkGrid`, each channel by its own body."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def __call__(self, image: MetaTensor) -> MetaTensor:
        channels, affine = voxels(image)
        scaled = [
            scale_intensity(channel, self.plan.intensity, is_body(channel, threshold))
            for channel, threshold in zip(channels, image.meta[THRESHOLDS], strict=True)
        ]
        return like(image, np.stack(scaled), affine)


class MatchHistogram(Transform):
    """The deciles of the training scans, which `fit_standards` gives, after `ScaleToPlan` with the scheme histogram."""

    def __init__(self, standards: tuple[Deciles, ...]) -> None:
        self.standards = standards

    def __call__(self, image: MetaTensor) -> MetaTensor:
        channels, affine = voxels(image)
        matched = channels.astype(np.float32)
        to_standards(matched, self.standards)
        return like(image, matched, affine)


def voxels(image: MetaTensor) -> tuple[NDArray, Affine]:
    """Channels (C, X, Y, Z) and the affine, sharing memory with the image."""
    if image.ndim != 4:
        raise ValueError(f"image: expected channels and three axes, (C, X, Y, Z), got shape {tuple(image.shape)}.")
    return image.as_tensor().numpy(), image.affine.numpy().astype(np.float64)


def like(image: MetaTensor, channels: NDArray[np.float32], affine: Affine) -> MetaTensor:
    """Other voxels on another grid with the image's meta data and history."""
    return MetaTensor(
        torch.from_numpy(channels),
        meta={**image.meta, "affine": torch.from_numpy(affine)},
        applied_operations=list(image.applied_operations),
    )
