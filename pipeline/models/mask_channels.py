"""Channels made from a mask, for networks that read shape from intensity: distance to the surface, local thickness.

Axes: B batch, C channels, D H W depth height width, K classes.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from pipeline.core.registry import Registry
from pipeline.imaging.shape import INSIDE
from pipeline.models.layers import check_input
from pipeline.models.network import Network, StageOutputs

REACH = 8.0
"""Voxels; distances outside are cut off there, so that empty space far away says nothing."""
SCALE = 4.0
"""Distances are divided by this many voxels, so that they vary by about 1 as intensities do."""
CHANNELS: Registry[Callable[[NDArray], NDArray]] = Registry("mask channel")


@CHANNELS.register("mask")
def occupancy(mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mask as it is."""
    return mask


@CHANNELS.register("distance")
def signed_distance(mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """Distance to the surface, positive inside."""
    inside = mask >= INSIDE
    if inside.all() or not inside.any():
        return np.full(mask.shape, (1 if inside.all() else -1) * REACH / SCALE, np.float32)
    depth = ndimage.distance_transform_edt(inside)
    outside = np.minimum(ndimage.distance_transform_edt(~inside), REACH)
    return ((depth - outside) / SCALE).astype(np.float32)


@CHANNELS.register("thickness")
def local_thickness(mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """Radius, in whole voxels, of the largest ball inside that covers a voxel; 0 outside."""
    inside = mask >= INSIDE
    thickness = np.zeros(mask.shape, np.float32)
    if not inside.any():
        return thickness
    (box,) = ndimage.find_objects(inside.astype(np.uint8))
    depth = ndimage.distance_transform_edt(np.pad(inside[box], 1))
    covered = np.zeros(depth.shape, np.float32)
    for radius in range(1, int(depth.max()) + 1):
        covered[ndimage.distance_transform_edt(depth < radius) < radius] = radius
    thickness[box] = covered[1:-1, 1:-1, 1:-1] / SCALE
    return thickness


class MaskChannels(nn.Module):
    """The named channels of the mask in the first channel. Shape: (B, C, D, H, W) -> (B, len(names), D, H, W)."""

    def __init__(self, names: Sequence[str], in_channels: int) -> None:
        super().__init__()
        if not names:
            raise ValueError(f"mask_channels: expected one or more of {', '.join(CHANNELS)}, got none")
        self.names, self.in_channels = tuple(names), in_channels
        self.makers = [CHANNELS.get(name) for name in names]

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        check_input(x, 3, self.in_channels)
        if x.is_meta:  # shapes alone, to count what a network costs
            return x.new_empty(len(x), len(self.names), *x.shape[2:])
        masks = x[:, 0].detach().float().cpu().numpy()
        made = np.stack([np.stack([maker(mask) for maker in self.makers]) for mask in masks])
        return torch.from_numpy(made).to(x.device, x.dtype)

    def extra_repr(self) -> str:
        return ", ".join(self.names)


class OnMaskChannels(Network):
    """A network of volumes on channels made from a mask. Shape: (B, C, D, H, W) -> (B, K)."""

    def __init__(self, network: Network, channels: MaskChannels) -> None:
        super().__init__()
        self.channels, self.network = channels, network
        self.num_features, self.num_classes = network.num_features, network.num_classes
        self.first_conv, self.classifier = f"network.{network.first_conv}", f"network.{network.classifier}"

    def forward_features(self, x: Tensor) -> Tensor:
        return self.network.forward_features(self.channels(x))

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        return self.network.forward_head(features, pre_logits)

    def forward_stages(self, x: Tensor) -> StageOutputs:
        return self.network.forward_stages(self.channels(x))

    def stage_gradients(self, x: Tensor, class_index: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        return self.network.stage_gradients(self.channels(x), class_index)

    def reset_classifier(self, num_classes: int) -> None:
        self.network.reset_classifier(num_classes)
        self.num_classes = num_classes

    def layer_groups(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        return self.network.layer_groups()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.network.set_grad_checkpointing(enable)

    def translate_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {f"network.{name}": tensor for name, tensor in self.network.translate_weights(weights).items()}
