"""ACS convolutions: 2D kernels, unchanged, as views of a volume (Yang et al., arXiv:1911.10477).

The output channels of a 2D convolution are divided among three orientations; each third keeps its kernels and
runs them in its own plane of the volume. A 2D checkpoint therefore fits unchanged.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

AXES = (2, 3, 4)
"""The tensor axis along which a third of the kernels is thin: D (axial), H (coronal), W (sagittal)."""


class ACSConv(nn.Module):
    """A 3D convolution whose kernels are 2D, each in the axial, coronal or sagittal plane through its middle.

    `weight` has the 2D shape (out, in / groups, k, k); it equals a cubic kernel that is zero off its plane.
    Shape: (B, C, D, H, W) -> that of `conv`.
    """

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        if len(set(conv.kernel_size)) > 1 or conv.groups > 1 or conv.padding_mode != "zeros":
            raise ValueError(f"ACS convolutions need cubic kernels, one group and zero padding, got {conv}")
        self.kernel_size = conv.kernel_size[0]
        self.stride = conv.stride
        self.padding = conv.padding
        self.dilation = conv.dilation
        self.weight = nn.Parameter(torch.zeros_like(conv.weight[:, :, 0]))
        self.register_parameter("bias", None if conv.bias is None else nn.Parameter(torch.zeros_like(conv.bias)))

    def forward(self, x: Tensor) -> Tensor:
        weights = self.weight.tensor_split(len(AXES))
        biases = (None,) * len(AXES) if self.bias is None else self.bias.tensor_split(len(AXES))
        planes = zip(AXES, weights, biases, strict=True)
        return torch.cat([self._convolve(x, axis, weight, bias) for axis, weight, bias in planes if len(weight)], dim=1)

    def _convolve(self, x: Tensor, axis: int, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution in the plane across `axis`; along it, only the voxels under the kernel's middle."""
        thin = axis - 2
        padding = [size if index != thin else 0 for index, size in enumerate(self.padding)]
        x = self._middles(x, axis)
        return functional.conv3d(x, weight.unsqueeze(axis), bias, self.stride, tuple(padding), self.dilation)

    def _middles(self, x: Tensor, axis: int) -> Tensor:
        """The part of `x` along `axis` of which every stride-th voxel is under the middle of a cubic kernel."""
        thin = axis - 2
        reach = self.dilation[thin] * (self.kernel_size - 1)
        count = (x.shape[axis] + 2 * self.padding[thin] - reach - 1) // self.stride[thin] + 1
        start = self.dilation[thin] * (self.kernel_size // 2) - self.padding[thin]
        return x.narrow(axis, start, (count - 1) * self.stride[thin] + 1)


def use_acs_convolutions(network: nn.Module) -> None:
    """Replace every 3D convolution wider than one voxel, in place. The weights are zero until they are loaded."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv3d) and set(child.kernel_size) != {1}:
                setattr(parent, name, ACSConv(child))
