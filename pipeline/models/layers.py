"""Layers that are written once for 2D and 3D.

Axes: B batch, C channels, S spatial (H, W) or (D, H, W).
"""

from collections.abc import Sequence
from math import prod

import torch
from einops import rearrange, reduce
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from pipeline.core.errors import did_you_mean

WINDOWS = {
    2: "b c oh ow kh kw -> (b oh ow) (c kh kw)",
    3: "b c od oh ow kd kh kw -> (b od oh ow) (c kd kh kw)",
}
"""Output voxels o and kernel voxels k along each axis -> one row per output voxel."""
OUTPUTS = {2: "(b h w) k -> b k h w", 3: "(b d h w) k -> b k d h w"}


class _GemmConv:
    """Mixin for a convolution of one group without dilation; it precedes `nn.Conv2d` or `nn.Conv3d` in the bases."""

    def forward(self, x: Tensor) -> Tensor:
        size = self.output_size(x)
        # Below this size the unfolded windows take at most half the memory of the weights; above it torch is as fast.
        # A map smaller than the kernel has no output; torch raises the error.
        small = min(size) > 0 and 2 * len(x) * prod(size) <= self.out_channels
        if x.device.type not in ("cpu", "meta") or torch.compiler.is_compiling() or not small:
            return super().forward(x)
        outputs = functional.linear(self.windows(x), rearrange(self.weight, "k c ... -> k (c ...)"), self.bias)
        return rearrange(outputs, OUTPUTS[len(size)], **dict(zip("dhw"[-len(size) :], size, strict=True)))

    def output_size(self, x: Tensor) -> list[int]:
        """Spatial size of the output."""
        axes = zip(x.shape[2:], self.kernel_size, self.stride, self.padding, strict=True)
        return [(length + 2 * padding - kernel) // stride + 1 for length, kernel, stride, padding in axes]

    def windows(self, x: Tensor) -> Tensor:
        """The input voxels of each output voxel: (B, C, *S) -> (B x output voxels, C x kernel voxels)."""
        x = functional.pad(x, [n for padding in reversed(self.padding) for n in (padding, padding)])
        for axis, (kernel, stride) in enumerate(zip(self.kernel_size, self.stride, strict=True), start=2):
            x = x.unfold(axis, kernel, stride)
        return rearrange(x, WINDOWS[len(self.kernel_size)])


class GemmConv2d(_GemmConv, nn.Conv2d):
    """Same weights and results as `nn.Conv2d`."""


class GemmConv3d(_GemmConv, nn.Conv3d):
    """Same weights and results as `nn.Conv3d`."""


CONV = {2: GemmConv2d, 3: GemmConv3d}
BATCH_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
MAX_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
TOKENS_TO_MAP = {2: "b (h w) f -> b f h w", 3: "b (d h w) f -> b f d h w"}
NORMS = ("batch", "instance", "group", "layer")

Size = int | Sequence[int]
"""One number for all spatial axes, or one per axis, (H, W) or (D, H, W)."""


def per_axis(size: Size, spatial_dims: int, name: str) -> tuple[int, ...]:
    """`size` as one positive number per spatial axis; errors name the option `name`."""
    sizes = (size,) * spatial_dims if isinstance(size, int) else tuple(size)
    if len(sizes) != spatial_dims or any(n < 1 for n in sizes):
        raise ValueError(f"{name} must be one number from 1 up, or {spatial_dims} of them, one per axis; got {size}")
    return sizes


def check_spatial_dims(spatial_dims: int) -> None:
    """Reject anything but 2 for images and 3 for volumes."""
    if spatial_dims not in CONV:
        raise ValueError(f"spatial_dims must be 2 for images or 3 for volumes, got {spatial_dims!r}")


def check_four_stages(family: str, depths: Sequence[int], dims: Sequence[int], down_strides: Sequence[Size]) -> None:
    """Require four stages with three downsamplings between them; errors name the network `family`."""
    if (len(depths), len(dims), len(down_strides)) != (4, 4, 3):
        raise ValueError(
            f"{family}: expected four depths, four dims and three down_strides, "
            f"got depths {tuple(depths)}, dims {tuple(dims)}, down_strides {tuple(down_strides)}"
        )


def check_input(x: Tensor, spatial_dims: int, in_channels: int) -> None:
    """Reject what a convolution would misread: a volume without its batch axis, or a wrong number of channels."""
    if x.dim() != spatial_dims + 2 or x.shape[1] != in_channels:
        axes = "(B, C, H, W)" if spatial_dims == 2 else "(B, C, D, H, W)"
        raise ValueError(f"expected an input {axes} with C = {in_channels}, got shape {tuple(x.shape)}")


def strided_conv(
    spatial_dims: int, in_channels: int, out_channels: int, size: Size, stride: Size, bias: bool = True
) -> nn.Module:
    """A convolution padded so that an axis of n voxels becomes n / stride, rounded up where the kernel allows it.

    Kernel 7 with stride 4 pads 2, 7 with 2 pads 3, 3 with 2 or 1 pads 1, as in the published networks.
    """
    sizes, strides = per_axis(size, spatial_dims, "kernel size"), per_axis(stride, spatial_dims, "stride")
    padding = tuple(max(0, (kernel - step + 1) // 2) for kernel, step in zip(sizes, strides, strict=True))
    return CONV[spatial_dims](in_channels, out_channels, sizes, strides, padding, bias=bias)


class ChannelLayerNorm(nn.LayerNorm):
    """Normalize over the channels of each token. Shape: (B, C, *S) -> same."""

    def forward(self, x: Tensor) -> Tensor:
        x = rearrange(x, "b c ... -> b ... c")
        x = functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return rearrange(x, "b ... c -> b c ...")


def norm_layer(kind: str, spatial_dims: int, channels: int) -> nn.Module:
    """A normalization of (B, C, *S) by name: `batch`, `instance`, `group` (one group) or `layer` (over channels)."""
    if kind == "batch":
        return BATCH_NORM[spatial_dims](channels)
    if kind == "instance":
        # One group per channel is instance normalization that also accepts a map of one voxel.
        return nn.GroupNorm(channels, channels)
    if kind == "group":
        return nn.GroupNorm(1, channels)
    if kind == "layer":
        return ChannelLayerNorm(channels, eps=1e-5)
    raise ValueError(f"unknown norm '{kind}'.{did_you_mean(kind, NORMS)} Known: {', '.join(NORMS)}.")


class DropPath(StochasticDepth):
    """Skip a residual branch for whole samples at this rate while training (arXiv:1603.09382)."""

    def __init__(self, rate: float) -> None:
        super().__init__(rate, mode="row")


def spread_over_depth(rate: float, depths: Sequence[int]) -> list[list[float]]:
    """A drop-path rate per block of each stage, linear from 0 at the first to `rate` at the last."""
    last = max(1, sum(depths) - 1)
    indices = iter(range(sum(depths)))
    return [[rate * next(indices) / last for _ in range(depth)] for depth in depths]


def global_mean(x: Tensor) -> Tensor:
    """The mean over space: (B, C, *S) -> (B, C)."""
    return reduce(x, "b c ... -> b c", "mean")


def tokens_to_map(tokens: Tensor, grid: Sequence[int]) -> Tensor:
    """Tokens (B, N, F) of a grid of N cells, row by row -> a map (B, F, *grid)."""
    return rearrange(tokens, TOKENS_TO_MAP[len(grid)], **dict(zip("dhw"[-len(grid) :], grid, strict=True)))


def per_channel(values: Tensor, spatial_dims: int) -> Tensor:
    """(B, C) -> (B, C, 1, …), to scale the channels of a map."""
    return rearrange(values, "b c -> b c" + " 1" * spatial_dims)


def classifier_layer(num_features: int, num_classes: int) -> nn.Module:
    """The last linear layer (truncated normal 0.02, zero bias); the identity for 0 classes."""
    if num_classes < 0:
        raise ValueError(f"num_classes must be 0 (no head) or more, got {num_classes}")
    if num_classes == 0:
        return nn.Identity()
    head = nn.Linear(num_features, num_classes)
    nn.init.trunc_normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head
