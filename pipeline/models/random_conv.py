"""Random 3D convolutions whose responses are summarized over the volume: ROCKET (arXiv:1910.13051) in 3D.

Axes: B batch, C channels, D H W depth height width, F features.
"""

from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from pipeline.models.fixed_features import FixedFeatures
from pipeline.models.registry import MODELS

KERNEL_SIZE = 5
DILATIONS = (1, 2, 3, 4)
"""One for each group of kernels; the widest kernel spans 17 voxels."""
LEVELS = (-2.0, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 2.0)
"""Responses above which the share of voxels is a feature, for inputs whose values vary by about 1."""


@MODELS.register("random_conv3d")
class RandomConv3d(FixedFeatures):
    """Kernels with zero sum and unit norm, in four dilations, on the volume at `1 / stride` of its resolution.

    The features of a kernel are the shares of voxels whose response is above each of LEVELS, and the mean, spread,
    largest and smallest response. `kernel_seed` draws the kernels, which belong to the weights of a checkpoint.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        num_classes: int = 2,
        num_kernels: int = 192,
        stride: int = 2,
        scale: float = 1.0,
        kernel_seed: int = 0,
    ) -> None:
        if num_kernels < len(DILATIONS) or num_kernels % len(DILATIONS):
            raise ValueError(f"num_kernels must be a multiple of {len(DILATIONS)} from there up, got {num_kernels}")
        if stride < 1 or scale <= 0:
            raise ValueError(f"stride must be 1 or more and scale above 0, got {stride} and {scale}")
        super().__init__(num_kernels * (len(LEVELS) + 4), in_channels=in_channels, num_classes=num_classes)
        self.stride, self.scale = stride, scale
        shape = (num_kernels // len(DILATIONS), in_channels, *(KERNEL_SIZE,) * 3)
        generator = np.random.default_rng(kernel_seed)
        for dilation in DILATIONS:
            self.register_buffer(f"kernels{dilation}", random_kernels(shape, generator))

    def measure(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = functional.avg_pool3d(x, self.stride, ceil_mode=True, count_include_pad=False) * self.scale
        first, second, third, fourth = (self._responses(x, dilation) for dilation in DILATIONS)
        return first, second, third, fourth

    def _responses(self, x: Tensor, dilation: int) -> Tensor:
        """Features (B, F / 4) of the kernels with this dilation."""
        kernels = self.get_buffer(f"kernels{dilation}")
        padding = dilation * (KERNEL_SIZE // 2)
        maps = functional.conv3d(x, kernels, padding=padding, dilation=dilation)
        return summarize(rearrange(maps, "b f d h w -> b f (d h w)"), LEVELS)

    def extra_repr(self) -> str:
        return f"stride={self.stride}, scale={self.scale:g}"


def random_kernels(shape: Sequence[int], generator: np.random.Generator) -> Tensor:
    """Normal kernels (F, C, k, k, k) with zero sum and unit norm."""
    kernels = generator.standard_normal(shape)
    kernels -= kernels.mean(axis=(1, 2, 3, 4), keepdims=True)
    kernels /= np.sqrt((kernels**2).sum(axis=(1, 2, 3, 4), keepdims=True))
    return torch.tensor(kernels, dtype=torch.float32)


def summarize(responses: Tensor, levels: Sequence[float]) -> Tensor:
    """Responses (B, F, N) of voxels -> shares above each level, mean, spread, largest and smallest, (B, F (L + 4))."""
    shares = [(responses > level).float().mean(dim=2) for level in levels]
    # The spread of one voxel is 0, not undefined.
    moments = [responses.mean(dim=2), responses.std(dim=2, correction=0), responses.amax(dim=2), responses.amin(dim=2)]
    return torch.cat([*shares, *moments], dim=1)
