"""Convolutions that run as one matrix product (GEMM) when their output is small.

Late in a 3D network a map has a few dozen voxels and a weight millions of numbers. torch's convolution on CPU then
spends most of its time reordering the weights, in the forward pass and for both gradients.
Axes: B batch, C channels, S spatial (H, W) or (D, H, W).
"""

from math import prod

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

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
