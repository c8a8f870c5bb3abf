"""What a worse scanner would have given: noise, blur, thicker slices. Volumes are (D, H, W)."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

MAX_NOISE = 0.15
"""Of the volume's standard deviation."""
BLUR_MM = (0.4, 1.2)
"""Gaussian width, in units of the finest spacing."""
MAX_THICKENING = 2.0

Spacing = tuple[float, float, float]


def noise(volume: Tensor, rng: np.random.Generator) -> Tensor:
    """Gaussian noise in every voxel."""
    strength = rng.uniform(0, MAX_NOISE) * float(volume.std())
    samples = rng.standard_normal(tuple(volume.shape), dtype=np.float32)
    return volume + strength * torch.from_numpy(samples)


def blur(volume: Tensor, rng: np.random.Generator, *, spacing_mm: Spacing) -> Tensor:
    """Gaussian blur of equal width in millimetres along each axis."""
    width_mm = rng.uniform(*BLUR_MM) * min(spacing_mm)
    blurred = volume[None, None]
    for axis, spacing in enumerate(spacing_mm):
        blurred = blur_axis(blurred, axis, width_mm / spacing)
    return blurred[0, 0]


def blur_axis(volume: Tensor, axis: int, sigma: float) -> Tensor:
    """Gaussian of `sigma` voxels along one axis of (1, 1, D, H, W); border voxels are repeated."""
    reach = int(np.ceil(3 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    padding = [0, 0, 0, 0, 0, 0]
    padding[2 * (2 - axis) : 2 * (2 - axis) + 2] = [reach, reach]
    shape = [-1 if other == axis else 1 for other in range(3)]
    padded = functional.pad(volume, padding, mode="replicate")
    return functional.conv3d(padded, (kernel / kernel.sum()).view(1, 1, *shape))


def lower_resolution(volume: Tensor, rng: np.random.Generator) -> Tensor:
    """Slices up to twice as thick along one axis, drawn by chance, interpolated back."""
    axis = int(rng.integers(3))
    coarse = list(volume.shape)
    coarse[axis] = max(1, round(coarse[axis] / rng.uniform(1, MAX_THICKENING)))
    thick = functional.interpolate(volume[None, None], coarse, mode="area")
    return functional.interpolate(thick, volume.shape, mode="trilinear", align_corners=False)[0, 0]
