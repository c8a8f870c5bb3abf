"""Views: how a volume becomes images, and how maps of those images become a map of the volume.

Axes: B batch, C channels, D H W depth height width, N images of one volume, T slices of a slab.
A view gives one image sequence (B, N, C', H', W') per direction.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

PLANES = ("b c d h w -> b d c h w", "b c d h w -> b h c d w", "b c d h w -> b w c d h")
"""The slices along D (axial), along H (coronal) and along W (sagittal), N first."""
MAPS_OF_PLANES = ("b n f h w -> b f n h w", "b n f d w -> b f d n w", "b n f d h -> b f d h n")


class View(Protocol):
    """A fixed way to cut images out of a volume."""

    def image_channels(self, in_channels: int) -> int:
        """Channels of an image, given those of the volume."""
        ...

    def sequences(self, volume: Tensor) -> list[Tensor]:
        """(B, C, D, H, W) -> image sequences (B, N, C', H', W'), one per direction."""
        ...

    def volume_map(self, maps: list[Tensor]) -> Tensor:
        """Maps of the images (B, N, F, h, w), one per direction -> one map (B, F, d, h, w)."""
        ...


def _check_positive(**sizes: int | None) -> None:
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"volume option '{name}' must be 1 or more, got {size}")


@dataclass(frozen=True)
class Slices:
    """Every `step`-th slice along one axis is an image: 0 for D, 1 for H, 2 for W."""

    step: int = 1
    axis: int = 0

    def __post_init__(self) -> None:
        _check_positive(step=self.step)
        if self.axis not in range(len(PLANES)):
            raise ValueError(f"volume option 'axis' must be 0 (slices along D), 1 (H) or 2 (W), got {self.axis!r}")

    def image_channels(self, in_channels: int) -> int:
        return in_channels

    def sequences(self, volume: Tensor) -> list[Tensor]:
        return [rearrange(volume, PLANES[self.axis])[:, :: self.step]]

    def volume_map(self, maps: list[Tensor]) -> Tensor:
        return rearrange(maps[0], MAPS_OF_PLANES[self.axis])


@dataclass(frozen=True)
class Slabs:
    """2.5D: a slice and its neighbors along D are the channels of one image.

    `thickness` T is odd, so that a slab has a middle. Every `step`-th slice is a middle, and beyond the ends of the
    volume the last slice repeats. Channel c of slice t becomes c * T + t.
    """

    thickness: int = 3
    step: int = 1

    def __post_init__(self) -> None:
        _check_positive(thickness=self.thickness, step=self.step)
        if self.thickness % 2 == 0:
            raise ValueError(f"volume option 'thickness' must be odd, to give a slab a middle, got {self.thickness}")

    def image_channels(self, in_channels: int) -> int:
        return in_channels * self.thickness

    def sequences(self, volume: Tensor) -> list[Tensor]:
        depth, reach = volume.shape[2], self.thickness // 2
        middles = torch.arange(0, depth, self.step, device=volume.device)
        offsets = torch.arange(-reach, reach + 1, device=volume.device)
        slabs = volume[:, :, (middles[:, None] + offsets).clamp(0, depth - 1)]
        return [rearrange(slabs, "b c n t h w -> b n (c t) h w")]

    def volume_map(self, maps: list[Tensor]) -> Tensor:
        return rearrange(maps[0], "b n f h w -> b f n h w")


@dataclass(frozen=True)
class Planes:
    """Tri-planar: the slices along D, then those along H, then those along W.

    With `slices_per_plane` only that many evenly spaced slices per direction are used; 1 is the middle one.
    """

    slices_per_plane: int | None = None

    def __post_init__(self) -> None:
        _check_positive(slices_per_plane=self.slices_per_plane)

    def image_channels(self, in_channels: int) -> int:
        return in_channels

    def sequences(self, volume: Tensor) -> list[Tensor]:
        return [self._select(rearrange(volume, plane)) for plane in PLANES]

    def volume_map(self, maps: list[Tensor]) -> Tensor:
        """The mean of the three directions, on their common coarse grid."""
        axial, coronal, sagittal = (rearrange(*pair) for pair in zip(maps, MAPS_OF_PLANES, strict=True))
        grid = (coronal.shape[2], axial.shape[3], axial.shape[4])
        return sum(functional.adaptive_avg_pool3d(stack, grid) for stack in (axial, coronal, sagittal)) / 3

    def _select(self, images: Tensor) -> Tensor:
        if self.slices_per_plane is None:
            return images
        middles = 2 * torch.arange(self.slices_per_plane, device=images.device) + 1
        return images[:, middles * images.shape[1] // (2 * self.slices_per_plane)]
