"""How a volume becomes images, and how maps of those images become a map of the volume.

Axes: B batch, C channels, D H W depth height width, N images of one volume, T slices of a slab.
A view gives one image sequence (B, N, C', H', W') for each direction in which it looks.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class View(Protocol):
    """A fixed way to cut images out of a volume."""

    def image_channels(self, in_channels: int) -> int:
        """Channels of an image, given those of the volume."""
        ...

    def sequences(self, volume: Tensor) -> list[Tensor]:
        """(B, C, D, H, W) -> image sequences (B, N, C', H', W'), one for each direction."""
        ...

    def volume_map(self, maps: list[Tensor]) -> Tensor:
        """Maps of the images (B, N, F, h, w), one for each direction -> one map (B, F, d, h, w)."""
        ...


def _require_positive(**sizes: int | None) -> None:
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"volume option '{name}' must be 1 or more, got {size}")


@dataclass(frozen=True)
class Slices:
    """Every `step`-th slice along D is an image."""

    step: int = 1

    def __post_init__(self) -> None:
        _require_positive(step=self.step)

    def image_channels(self, in_channels: int) -> int:
        return in_channels

    def sequences(self, volume: Tensor) -> list[Tensor]:
        return [volume[:, :, :: self.step].movedim(2, 1)]

    def volume_map(self, maps: list[Tensor]) -> Tensor:
        return maps[0].movedim(1, 2)


@dataclass(frozen=True)
class Slabs:
    """2.5D: a slice and its neighbours along D are the channels of one image.

    `thickness` T is odd, so that a slab has a middle; a middle lies on every `step`-th slice, and
    beyond the ends of the volume the last slice repeats. Channel c of slice t becomes c * T + t.
    """

    thickness: int = 3
    step: int = 1

    def __post_init__(self) -> None:
        _require_positive(thickness=self.thickness, step=self.step)
        if self.thickness % 2 == 0:
            raise ValueError(f"volume option 'thickness' must be odd, to give a slab a middle, got {self.thickness}")

    def image_channels(self, in_channels: int) -> int:
        return in_channels * self.thickness

    def sequences(self, volume: Tensor) -> list[Tensor]:
        depth, reach = volume.shape[2], self.thickness // 2
        middles = torch.arange(0, depth, self.step, device=volume.device)
        offsets = torch.arange(-reach, reach + 1, device=volume.device)
        slabs = volume[:, :, (middles[:, None] + offsets).clamp(0, depth - 1)]  # (B, C, N, T, H, W)
        return [slabs.movedim(2, 1).flatten(2, 3)]

    def volume_map(self, maps: list[Tensor]) -> Tensor:
        return maps[0].movedim(1, 2)


@dataclass(frozen=True)
class Planes:
    """Tri-planar: the slices along D, then those along H, then those along W.

    With `slices_per_plane` only that many evenly spaced slices of each direction are taken; 1 is the middle one.
    """

    slices_per_plane: int | None = None

    def __post_init__(self) -> None:
        _require_positive(slices_per_plane=self.slices_per_plane)

    def image_channels(self, in_channels: int) -> int:
        return in_channels

    def sequences(self, volume: Tensor) -> list[Tensor]:
        return [self._select(volume.movedim(axis, 1)) for axis in (2, 3, 4)]

    def volume_map(self, maps: list[Tensor]) -> Tensor:
        """The mean of the three directions, on the coarse grid that they share."""
        axial, coronal, sagittal = (stack.movedim(1, axis) for stack, axis in zip(maps, (2, 3, 4), strict=True))
        grid = (coronal.shape[2], axial.shape[3], axial.shape[4])
        return sum(functional.adaptive_avg_pool3d(stack, grid) for stack in (axial, coronal, sagittal)) / 3

    def _select(self, images: Tensor) -> Tensor:
        if self.slices_per_plane is None:
            return images
        middles = 2 * torch.arange(self.slices_per_plane, device=images.device) + 1
        return images[:, middles * images.shape[1] // (2 * self.slices_per_plane)]
