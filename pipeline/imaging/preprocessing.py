"""From a raw scan to the network's input: one resampling, then one scaling of intensities.

Axes: C channels, D H W of the input, X Y Z of the scan.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Plan
from pipeline.imaging.cropping import Focus, cut_warnings, focus_of
from pipeline.imaging.foreground import Foreground, find_foreground
from pipeline.imaging.geometry import Affine, Grid, network_grid
from pipeline.imaging.intensity import correct_bias, scale_intensity
from pipeline.imaging.io.discover import ScanFiles
from pipeline.imaging.io.read import read_channels
from pipeline.imaging.problems import Problem, ScanProblem
from pipeline.imaging.resampling import resample
from pipeline.imaging.voxel_codes import LARGEST_CODE, decode, encode

Volume = NDArray[np.float32]
NOT_ON_DISK = ScanFiles(channels=())
FEWEST_STEPS = 1000
"""Steps of the store, one for all channels of a file, that the values of each channel must span."""


@dataclass(frozen=True)
class Prepared:
    """A scan as the network sees it."""

    array: Volume
    """(C, D, H, W), C-contiguous; already rounded to the store's steps, so a stored scan gives the same bits."""
    affine: Affine
    """Index of that grid to RAS millimetres."""
    warnings: tuple[str, ...]
    """What a reader of the results should know."""


def preprocess_scan(files: ScanFiles | Path, plan: Plan) -> Prepared:
    """Read and prepare one scan, of one file or of several; `ValueError` if it cannot be used."""
    files = files if isinstance(files, ScanFiles) else ScanFiles((files,))
    if len(files.channels) != plan.num_images:
        expected = ", ".join(plan.channels) or "one file"
        raise ValueError(f"{files.first}: {len(files.channels)} files a scan, expected {plan.num_images}: {expected}.")
    channels = read_channels(files.channels, missing=plan.missing_channel, fill=plan.fill_nonfinite)
    try:
        prepared = prepare([scan and scan.array for scan in channels.scans], channels.grid.affine, plan, files)
    except ScanProblem:
        raise
    except ValueError as error:
        raise ValueError(f"{files.first}: {error}") from error
    warnings = words_of(problem for scan in channels.present for problem in scan.warnings)
    return Prepared(prepared.array, prepared.affine, warnings + prepared.warnings)


def prepare(images: Sequence[NDArray | None], affine: Affine, plan: Plan, files: ScanFiles = NOT_ON_DISK) -> Prepared:
    """Prepare the images (X, Y, Z) of a scan whose affine leads to RAS millimetres; None is one that is missing.

    `files` say where to look, if the plan crops to a mask or a point.
    """
    if plan.bias_correction == "n4":
        images = [None if image is None else correct_bias(image) for image in images]
    bodies = [None if image is None else find_foreground(image, plan.intensity) for image in images]
    shape, body = next((image.shape, body) for image, body in zip(images, bodies, strict=True) if body)
    focus = focus_of(files, Grid(shape, affine), body, plan)
    target = plan_grid(Grid(shape, affine), focus, plan)
    channels = [prepare_image(*pair, affine, target, plan) for pair in zip(images, bodies, strict=True)]
    if plan.missing_channel == "zero":
        channels += [np.full(target.shape, image is not None, np.float32) for image in images]
    refuse_lost_channel(channels, len(images))
    warnings = words_of(focus.problems) + cut_warnings(focus, target)
    return Prepared(decode(*encode(np.stack(channels))), target.affine, warnings)


def words_of(problems: Iterable[Problem]) -> tuple[str, ...]:
    """Each kind of problem once."""
    return tuple(dict.fromkeys(f"{problem.message} [{problem.code}]" for problem in problems))


def prepare_image(image: NDArray | None, body: Foreground | None, affine: Affine, target: Grid, plan: Plan) -> Volume:
    """One channel on the target grid, scaled by its own body; zeros where it is missing."""
    if image is None:
        return np.zeros(target.shape, np.float32)
    resampled = resample(image, affine, target, fill=body.background)
    return scale_intensity(resampled, plan.intensity, body.mask(resampled))


def plan_grid(source: Grid, focus: Focus, plan: Plan) -> Grid:
    """The network's grid in the world of one scan."""
    return network_grid(source, focus.center_mm, plan.orientation, plan.spacing_mm, plan.size_voxels, plan.tilt)


def refuse_lost_channel(channels: Sequence[Volume], num_images: int) -> None:
    """An image of far smaller values than another would be rounded away.

    Behind the images, channels of ones that say which are there hold one step of the store, and need no more.
    """
    largest = [float(np.abs(channel).max()) for channel in channels[:num_images]]
    smallest = min((value for value in largest if value), default=0.0)
    if len(channels) > num_images and max(largest) > LARGEST_CODE:
        raise ValueError(
            f"values reach to {max(largest):.3g}, expected {LARGEST_CODE} at most beside channels that say which files "
            "are there; choose a preprocess.intensity that scales."
        )
    if smallest * LARGEST_CODE < FEWEST_STEPS * max(largest):
        raise ValueError(
            f"channels reach to {smallest:.3g} and to {max(largest):.3g}, expected ranges that differ at most "
            f"{LARGEST_CODE // FEWEST_STEPS}-fold; choose a preprocess.intensity that gives all channels one range."
        )
