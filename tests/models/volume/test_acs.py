"""ACS convolutions against cubic kernels that are zero off their plane."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pipeline.models.volume.acs import AXES, ACSConv


def cubic_kernels(weight: torch.Tensor) -> torch.Tensor:
    """The 2D kernels (O, C, k, k), each third put into the middle plane of a cube (O, C, k, k, k)."""
    size = weight.shape[2]
    cubes = []
    for axis, third in zip(AXES, weight.tensor_split(3), strict=True):
        cube = torch.zeros(*third.shape[:2], size, size, size, dtype=weight.dtype)
        cube.select(axis, size // 2).copy_(third)
        cubes.append(cube)
    return torch.cat(cubes)


@pytest.mark.parametrize("out_channels", [6, 8, 2])
@pytest.mark.parametrize(
    ("size", "stride", "padding", "dilation"),
    [(3, 1, 1, 1), (3, 2, 1, 1), (7, 4, 2, 1), (7, 2, 3, 1), (3, 1, 2, 2), (4, 4, 0, 1), (2, 2, 0, 1)],
)
def test_equals_a_cubic_kernel_that_is_zero_off_its_plane(out_channels, size, stride, padding, dilation):
    torch.manual_seed(0)
    stock = nn.Conv3d(5, out_channels, size, stride, padding, dilation).double()
    conv = ACSConv(stock).double()
    nn.init.normal_(conv.weight)
    nn.init.normal_(conv.bias)
    volume = torch.randn(2, 5, 16, 17, 19, dtype=torch.float64)
    expected = nn.functional.conv3d(volume, cubic_kernels(conv.weight), conv.bias, stride, padding, dilation)
    torch.testing.assert_close(conv(volume), expected)


def test_an_acs_network_holds_the_2d_weights_as_they_are(build_tiny, tmp_path):
    planar = build_tiny("resnet18", spatial_dims=2)
    save_file(planar.state_dict(), tmp_path / "planar.safetensors")
    network = build_tiny("resnet18", volume="acs", pretrained=tmp_path / "planar.safetensors")
    weights = planar.state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor.squeeze(), weights[name].squeeze()), name


def test_a_volume_constant_along_all_axes_gives_what_the_image_gives():
    """Away from the border a constant input meets whole kernels, whichever plane they lie in."""
    torch.manual_seed(0)
    planar, stock = nn.Conv2d(3, 9, 3), nn.Conv3d(3, 9, 3)
    conv = ACSConv(stock)
    conv.load_state_dict(planar.state_dict())
    color = torch.randn(1, 3)
    volume, image = color[..., None, None, None].expand(1, 3, 5, 5, 5), color[..., None, None].expand(1, 3, 5, 5)
    torch.testing.assert_close(conv(volume).mean((2, 3, 4)), planar(image).mean((2, 3)))


def test_no_wide_3d_convolution_is_left(build_tiny):
    network = build_tiny("poolformer_s12", volume="acs")
    wide = [module for module in network.modules() if isinstance(module, nn.Conv3d) and set(module.kernel_size) != {1}]
    assert not wide
    assert sum(isinstance(module, ACSConv) for module in network.modules()) == 4  # the stem and three downsamplings


def test_grouped_convolutions_are_rejected():
    with pytest.raises(ValueError, match="one group"):
        ACSConv(nn.Conv3d(4, 4, 3, groups=4))
