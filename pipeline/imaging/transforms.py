"""Preprocessing as one `Compose` of MONAI transforms: from the files of a scan to the network's input, and back.

    transforms = scan_transforms(plan)
    sample = transforms({"image": "scan.nii.gz"})
    on_the_scan = transforms.inverse(sample)["image"]

Images are MetaTensors with channels first. (C, Z, Y, X) of the scan goes in, (C, D, H, W) of the plan comes out,
rounded to the steps of the store, so that a stored scan has the same bits. Resampling is inverted; transforms that
change intensities are not, because they clip. Axes: C channels, D H W of the input, X Y Z of the scan.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, InvertibleTransform, MapTransform, Transform
from numpy.typing import NDArray

from pipeline.config import Plan
from pipeline.core.columns import CROP_CENTER_MM, CROP_MASK
from pipeline.imaging.cropping import CropTarget, find_crop_target, truncation_warnings
from pipeline.imaging.extra_transforms import OnImage, deterministic
from pipeline.imaging.foreground import find_foreground, is_body
from pipeline.imaging.geometry import Affine, Grid, network_grid
from pipeline.imaging.intensity import correct_bias, scale_intensity
from pipeline.imaging.io.discover import ScanFiles
from pipeline.imaging.io.monai_reader import PRESENT, WARNINGS, ScanReader, load_scan
from pipeline.imaging.resampling import resample, to_original_grid
from pipeline.imaging.voxel_codes import LARGEST_CODE, decode, encode

IMAGE = "image"
THRESHOLDS = "foreground_thresholds"
"""Key of the metadata: above which value each channel is body, None without empty space or without a file."""
MIN_STEPS = 1000
"""Steps of the store, one size for all channels of a scan, that the values of each channel must span."""
MODALITY_OF_SCHEME = {"window": "CT", "suv": "PET"}
"""Schemes in an absolute unit, which every scan must have."""
Sample = dict[Hashable, Any]


def scan_transforms(plan: Plan, *, own_modules: frozenset[str] = frozenset(), is_new: bool = False) -> Compose:
    """What `preprocess` and `predict` run on a sample: the files of a scan under `image`, as `sample_of` gives them.

    A scan that is new is compared with those that the plan was made from. `own_modules` are dotted paths of the user's
    own transforms that `plan.extra` may import.
    """
    modality = MODALITY_OF_SCHEME.get(plan.intensity.scheme)
    reference = plan.reference if is_new else None
    reader = ScanReader(plan.fill_nonfinite, plan.missing_channel, plan.spacing_range_mm, modality, reference)
    load = load_scan(IMAGE, reader)
    return Compose([load, EnsureChannelFirstd(IMAGE), *volume_transforms(plan, own_modules=own_modules)])


def volume_transforms(plan: Plan, *, own_modules: frozenset[str] = frozenset()) -> list[Transform]:
    """The same for an image that is read already, a MetaTensor with channels first."""
    return [
        *([CorrectBiasFieldd(IMAGE)] if plan.bias_correction == "n4" else []),
        ResampleToPland(IMAGE, plan),
        NormalizeToPland(IMAGE, plan),
        *(OnImage(IMAGE, transform) for transform in deterministic(plan.extra, own_modules)),
        *([MarkMissingChannelsd(IMAGE)] if plan.missing_channel == "zero" else []),
        RoundToStored(IMAGE, plan.num_images),
    ]


def sample_of(files: ScanFiles) -> Sample:
    """The sample that `scan_transforms` takes for a scan."""
    return {IMAGE: files.channels, CROP_MASK: files.crop_mask, CROP_CENTER_MM: files.crop_center_mm}


class ImageTransform(MapTransform):
    """A transform of each image of a sample; subclasses say what becomes of one image."""

    def __call__(self, data: Mapping[Hashable, Any]) -> Sample:
        sample = dict(data)
        for key in self.key_iterator(sample):
            sample[key] = self.apply(sample[key], sample)
        return sample

    def apply(self, image: MetaTensor, sample: Sample) -> MetaTensor:
        raise NotImplementedError


class CorrectBiasFieldd(ImageTransform):
    """N4 bias field correction on the raw scan."""

    def apply(self, image: MetaTensor, sample: Sample) -> MetaTensor:
        channels, affine, order = in_file_order(image)
        present = present_channels(image)
        corrected = [
            correct_bias(channel) if is_there else channel for channel, is_there in zip(channels, present, strict=True)
        ]
        return like(image, np.stack(corrected).transpose(back_to(order)), image_affine(image))


class ResampleToPland(ImageTransform, InvertibleTransform):
    """Orientation, spacing, crop and size in one resampling; the inverse puts an array back on the scan's own grid.

    Beyond the edge of a scan without empty space there is NaN, which `NormalizeToPland` replaces. `crop_mask` and
    `crop_center_mm` of the sample say what to crop to, if the plan crops to a mask or a point.
    """

    def __init__(self, keys: Hashable, plan: Plan) -> None:
        super().__init__(keys)
        self.plan = plan

    def apply(self, image: MetaTensor, sample: Sample) -> MetaTensor:
        channels, affine, order = in_file_order(image)
        bodies = [
            find_foreground(channel, self.plan.intensity) if is_there else None
            for channel, is_there in zip(channels, present_channels(image), strict=True)
        ]
        scan = Grid(channels.shape[1:], affine)
        first = next(body for body in bodies if body is not None)
        focus = find_crop_target(files_in(sample), scan, first, self.plan)
        target = self.target_grid(scan, focus)
        resampled = [
            np.zeros(target.shape, np.float32) if body is None else resample(channel, affine, target, body.background)
            for channel, body in zip(channels, bodies, strict=True)
        ]
        prepared = like(image, np.stack(resampled), target.affine)
        prepared.meta[THRESHOLDS] = [None if body is None else body.threshold for body in bodies]
        found = dict.fromkeys(f"{problem.message} [{problem.code}]" for problem in focus.problems)
        prepared.meta[WARNINGS] = [*image.meta.get(WARNINGS, []), *found, *truncation_warnings(focus, target)]
        self.push_transform(prepared, orig_size=scan.shape, extra_info={"affine": affine, "order": order})
        return prepared

    def target_grid(self, scan: Grid, focus: CropTarget) -> Grid:
        plan = self.plan
        return network_grid(scan, focus.center_mm, plan.orientation, plan.spacing_mm, plan.size_voxels, plan.tilt)

    def inverse(self, data: Mapping[Hashable, Any]) -> Sample:
        sample = dict(data)
        for key in self.key_iterator(sample):
            sample[key] = self.invert(sample[key])
        return sample

    def invert(self, image: MetaTensor) -> MetaTensor:
        applied = self.pop_transform(image)
        affine, order = (applied["extra_info"][name] for name in ("affine", "order"))
        channels = image.as_tensor().numpy().astype(np.float32, copy=False)
        # NaN would spread into the scan, whose last voxels are interpolated between it and the first ones outside.
        filled = [np.where(np.isnan(channel), np.nanmean(channel), channel) for channel in channels]
        shape = tuple(applied["orig_size"])
        back = [to_original_grid(channel, image_affine(image), shape, affine) for channel in filled]
        return like(image, np.stack(back).transpose(back_to(order)), affine[:, [*np.argsort(order), 3]])


class NormalizeToPland(ImageTransform):
    """The plan's intensity scheme, after `ResampleToPland`, each channel by its own body."""

    def __init__(self, keys: Hashable, plan: Plan) -> None:
        super().__init__(keys)
        self.plan = plan

    def apply(self, image: MetaTensor, sample: Sample) -> MetaTensor:
        scaled = [
            scale_intensity(channel, self.plan.intensity, is_body(channel, threshold)) if is_there else channel
            for channel, threshold, is_there in zip(
                image.as_tensor().numpy(), image.meta[THRESHOLDS], present_channels(image), strict=True
            )
        ]
        return like(image, np.stack(scaled), image_affine(image))


class MarkMissingChannelsd(ImageTransform):
    """Append a channel for each image that is 1 where the image was acquired and 0 where it is missing."""

    def apply(self, image: MetaTensor, sample: Sample) -> MetaTensor:
        channels = image.as_tensor().numpy()
        marks = [np.full(channels.shape[1:], is_there, np.float32) for is_there in present_channels(image)]
        return like(image, np.concatenate([channels, np.stack(marks)]), image_affine(image))


class RoundToStored(ImageTransform):
    """Round voxels to the steps of the store, and reject channels whose range that would lose."""

    def __init__(self, keys: Hashable, num_images: int) -> None:
        super().__init__(keys)
        self.num_images = num_images

    def apply(self, image: MetaTensor, sample: Sample) -> MetaTensor:
        channels = image.as_tensor().numpy().astype(np.float32, copy=False)
        check_channel_ranges(channels, self.num_images)
        return like(image, decode(*encode(channels)), image_affine(image))


def check_channel_ranges(channels: NDArray[np.float32], num_images: int) -> None:
    """An image of far smaller values than another would be rounded away.

    Behind the images, channels that say which of them are there span one step of the store, and need no more.
    """
    largest = [float(np.abs(channel).max()) for channel in channels[:num_images]]
    smallest = min((value for value in largest if value), default=0.0)
    if len(channels) > num_images and max(largest) > LARGEST_CODE:
        raise ValueError(
            f"values reach to {max(largest):.3g}, expected {LARGEST_CODE} at most beside channels that say which files "
            "are there; choose a preprocess.intensity that scales."
        )
    if smallest * LARGEST_CODE < MIN_STEPS * max(largest):
        raise ValueError(
            f"channels reach to {smallest:.3g} and to {max(largest):.3g}, expected ranges that differ at most "
            f"{LARGEST_CODE // MIN_STEPS}-fold; choose a preprocess.intensity that gives all channels one range."
        )


def in_file_order(image: MetaTensor) -> tuple[NDArray, Affine, list[int]]:
    """Channels (C, X, Y, Z) as a view with the fastest axis first, the affine of that order, and the order.

    Sums then run alike whatever the order of axes in which a reader hands over the same file.
    """
    if image.ndim != 4:
        raise ValueError(f"image: expected channels and three axes, (C, X, Y, Z), got shape {tuple(image.shape)}.")
    order = sorted(range(3), key=lambda axis: image.stride(axis + 1))
    array = image.as_tensor().numpy().transpose(0, *(axis + 1 for axis in order))
    return array, image_affine(image)[:, [*order, 3]], order


def back_to(order: list[int]) -> tuple[int, ...]:
    """The transposition of (C, …) that undoes `order`."""
    return (0, *(int(axis) + 1 for axis in np.argsort(order)))


def image_affine(image: MetaTensor) -> Affine:
    return image.affine.numpy().astype(np.float64)


def present_channels(image: MetaTensor) -> list[bool]:
    """Whether each image was acquired; all of them, if the reader does not say."""
    return list(image.meta.get(PRESENT, [True] * len(image)))


def files_in(sample: Sample) -> ScanFiles:
    """The mask or the point of the sample that the plan may crop to."""
    return ScanFiles((), crop_mask=sample.get(CROP_MASK), crop_center_mm=sample.get(CROP_CENTER_MM))


def like(image: MetaTensor, channels: NDArray, affine: Affine) -> MetaTensor:
    """Other voxels on another grid, with the image's metadata and history."""
    return MetaTensor(
        torch.from_numpy(channels),
        meta={**image.meta, "affine": torch.from_numpy(affine)},
        applied_operations=list(image.applied_operations),
    )
