"""Convolutions that are one matrix product where their output has become small.

Late in a 3D network a map is a few dozen voxels and a weight millions of numbers. The stock convolution on CPU then
spends most of its time on bringing the weights into another order, and again for both gradients.
Axes: B batch, C channels, S spatial (H, W) or (D, H, W).
"""

from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional


class _SmallMapConv:
    """For a convolution of one group without dilation, ahead of `nn.Conv2d` or `nn.Conv3d` in the bases."""

    def forward(self, x: Tensor) -> Tensor:
        size = self.output_size(x)
        # Up to here the windows, written out, take at most half the memory of the weights; beyond, stock is as fast.
        # A map smaller than the kernel has no output: stock says so.
        small = min(size) > 0 and 2 * len(x) * prod(size) <= self.out_channels
        if x.device.type not in ("cpu", "meta") or torch.compiler.is_compiling() or not small:
            return super().forward(x)
        outputs = functional.linear(self.windows(x), self.weight.flatten(1), self.bias)
        return outputs.view(len(x), *size, self.out_channels).movedim(-1, 1)

    def output_size(self, x: Tensor) -> list[int]:
        """Spatial size of the output."""
        axes = zip(x.shape[2:], self.kernel_size, self.stride, self.padding, strict=True)
        return [(length + 2 * padding - kernel) // stride + 1 for length, kernel, stride, padding in axes]

    def windows(self, x: Tensor) -> Tensor:
        """What each output voxel is the product of: (B, C, *S) -> (B x output voxels, C x kernel voxels)."""
        x = functional.pad(x, [n for padding in reversed(self.padding) for n in (padding, padding)])
        axes = range(2, x.dim())
        for axis, kernel, stride in zip(axes, self.kernel_size, self.stride, strict=True):
            x = x.unfold(axis, kernel, stride)
        return x.movedim(1, 1 + len(axes)).flatten(1 + len(axes)).flatten(0, len(axes))


class SmallMapConv2d(_SmallMapConv, nn.Conv2d):
    """`nn.Conv2d`, weights and results."""


class SmallMapConv3d(_SmallMapConv, nn.Conv3d):
    """`nn.Conv3d`, weights and results."""
