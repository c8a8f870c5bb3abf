"""Measures under a linear head, none of them learned: the shape of a mask, random 3D convolutions, a coarse volume.

Axes: B batch, C channels, D H W depth height width, F features, K classes.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from pipeline.imaging.shape import measure_shape, shape_measure_names
from pipeline.models.layers import check_input, classifier_layer
from pipeline.models.network import Network, StageOutputs
from pipeline.models.registry import MODELS


class FixedFeatures(Network):
    """Four groups of measures and a linear head, which `model.freeze` fits. Shape: (B, C, D, H, W) -> (B, K).

    A subclass fills `measure`. Its groups stand in place of stages, so that they are predicted, probed and audited as
    the stages of any network are.
    """

    def __init__(self, num_features: int, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.num_features = num_features
        self.reset_classifier(num_classes)

    def measure(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Four groups of features (B, F_i) of volumes (B, C, D, H, W)."""
        raise NotImplementedError

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> all features (B, F)."""
        check_input(x, 3, self.in_channels)
        return torch.cat(self.measure(x), dim=1)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        return features if pre_logits else self.head(features)

    def forward_stages(self, x: Tensor) -> StageOutputs:
        """Each group as a map of one token (B, F_i, 1, 1, 1), and the logits."""
        check_input(x, 3, self.in_channels)
        groups = self.measure(x)
        stages = tuple(rearrange(group, "b f -> b f 1 1 1") for group in groups)
        return StageOutputs(stages, self.head(torch.cat(groups, dim=1)))

    def stage_gradients(self, x: Tensor, class_index: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        raise ValueError(
            f"{type(self).__name__} measures the volume as a whole and has no maps; explain it with "
            "explanation.method=occlusion."
        )

    def reset_classifier(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.head = classifier_layer(self.num_features, num_classes)

    def layer_groups(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        return {"stem": [], "head": [self.head]}


@MODELS.register("shape_measures")
class ShapeMeasures(FixedFeatures):
    """Size, thickness, moments and surface of the mask in the first channel, in millimeters.

    `spacing_mm` is that of the volume, along (D, H, W); a training takes it from its plan.
    """

    def __init__(
        self, *, in_channels: int = 1, num_classes: int = 2, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ) -> None:
        self.feature_names = tuple(name for group in shape_measure_names() for name in group)
        super().__init__(len(self.feature_names), in_channels=in_channels, num_classes=num_classes)
        if len(spacing_mm) != 3 or not all(math.isfinite(mm) and mm > 0 for mm in spacing_mm):
            raise ValueError(f"spacing_mm must be three positive numbers along (D, H, W), got {spacing_mm}")
        self.spacing_mm = tuple(float(mm) for mm in spacing_mm)

    def measure(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if x.is_meta:  # shapes alone, to count what a network costs
            first, second, third, fourth = (x.new_empty(len(x), len(group)) for group in shape_measure_names())
            return first, second, third, fourth
        masks = x[:, 0].detach().float().cpu().numpy()
        measured = [measure_shape(mask, self.spacing_mm) for mask in masks]
        first, second, third, fourth = (
            torch.from_numpy(np.array([list(one.values()) for one in group], np.float32)).to(x.device)
            for group in zip(*measured, strict=True)
        )
        return first, second, third, fourth

    def extra_repr(self) -> str:
        return f"spacing_mm={self.spacing_mm}"


KERNEL_SIZE = 5
DILATIONS = (1, 2, 3, 4)
"""One for each group of kernels; the widest kernel spans 17 voxels."""
LEVELS = (-2.0, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 2.0)
"""Responses above which the share of voxels is a feature, for inputs whose values vary by about 1."""


@MODELS.register("random_conv3d")
class RandomConv3d(FixedFeatures):
    """Kernels with zero sum and unit norm, in four dilations, on the volume at `1 / stride` of its resolution.

    The features of a kernel are the shares of voxels whose response is above each of LEVELS, and the mean, spread,
    largest and smallest response; with `grid` the mean positive response in each of `grid`^3 cells, which keeps where
    it was. `kernel_seed` draws the kernels, which belong to the weights of a checkpoint.
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
        grid: int | None = None,
    ) -> None:
        if num_kernels < len(DILATIONS) or num_kernels % len(DILATIONS):
            raise ValueError(f"num_kernels must be a multiple of {len(DILATIONS)} from there up, got {num_kernels}")
        if stride < 1 or scale <= 0:
            raise ValueError(f"stride must be 1 or more and scale above 0, got {stride} and {scale}")
        if grid is not None and grid < 1:
            raise ValueError(f"grid must be 1 or more, got {grid}")
        features = len(LEVELS) + 4 if grid is None else grid**3
        super().__init__(num_kernels * features, in_channels=in_channels, num_classes=num_classes)
        self.stride, self.scale, self.grid = stride, scale, grid
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
        if self.grid is not None:
            return rearrange(functional.adaptive_avg_pool3d(maps.relu(), self.grid), "b f ... -> b (f ...)")
        return summarize(rearrange(maps, "b f d h w -> b f (d h w)"), LEVELS)

    def extra_repr(self) -> str:
        return f"stride={self.stride}, scale={self.scale:g}, grid={self.grid}"


COARSE, FINE = 4, 8
"""Cells along each axis of the two grids of `CoarseVolume`."""


@MODELS.register("coarse_volume")
class CoarseVolume(FixedFeatures):
    """Mean and spread of the voxels in each cell of a 4 x 4 x 4 and of an 8 x 8 x 8 grid over the volume."""

    def __init__(self, *, in_channels: int = 1, num_classes: int = 2) -> None:
        num_cells = COARSE**3 + FINE**3
        super().__init__(2 * in_channels * num_cells, in_channels=in_channels, num_classes=num_classes)

    def measure(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return *cell_moments(x, COARSE), *cell_moments(x, FINE)


def cell_moments(x: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (B, C G^3) in each of G x G x G cells of volumes (B, C, D, H, W)."""
    mean = functional.adaptive_avg_pool3d(x, grid)
    # Around the mean of the volume, where the difference of squares loses no digits.
    centered = x - x.mean(dim=(2, 3, 4), keepdim=True)
    first, second = (functional.adaptive_avg_pool3d(power, grid) for power in (centered, centered**2))
    spread = (second - first**2).clamp(min=0).sqrt()
    return rearrange(mean, "b c ... -> b (c ...)"), rearrange(spread, "b c ... -> b (c ...)")


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
