"""The one key `volume`: modes, their options and what they do to networks."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pipeline.models import build_model
from pipeline.models.volume import volume_modes
from pipeline.models.volume.wrap import AXES, ACSConv

VOLUME = torch.randn(2, 1, 6, 32, 33, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("mode", ["slicewise", {"mode": "slicewise"}])
def test_a_mode_is_a_name_or_a_mapping(build_tiny, mode):
    assert build_tiny("resnet18", volume=mode)(VOLUME).shape == (2, 2)


@torch.no_grad()
def test_slabs_of_one_slice_are_slicewise(build_tiny):
    slicewise = build_tiny("resnet18", volume="slicewise")
    slab = build_tiny("resnet18", volume={"mode": "slab", "thickness": 1})
    slab.load_state_dict(slicewise.state_dict())
    torch.testing.assert_close(slab(VOLUME), slicewise(VOLUME))


def test_slabs_make_channels_of_slices(build_tiny):
    network = build_tiny("resnet18", in_channels=2, volume={"mode": "slab", "thickness": 5})
    assert network.encoder.conv1.in_channels == 10


@torch.no_grad()
def test_triplanar_does_not_care_which_axis_is_which(build_tiny):
    """One network reads all three directions, so turning the volume changes the order of its images only."""
    network = build_tiny("resnet18", volume={"mode": "triplanar", "pooling": "max"})
    permuted = VOLUME[..., :32].permute(0, 1, 3, 4, 2)
    # Permuted, the images of one direction are transposed: a network that cannot tell needs symmetric kernels.
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.copy_((module.weight + module.weight.mT) / 2)
    torch.testing.assert_close(network(permuted), network(VOLUME[..., :32]), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_triplanar_equals_a_loop_over_its_planes(build_tiny):
    network = build_tiny("resnet18", volume={"mode": "triplanar", "slices_per_plane": 1})
    planes = [VOLUME[:, :, 3], VOLUME[:, :, :, 16], VOLUME[..., 16]]
    expected = torch.stack([network.head(network.encoder(image)) for image in planes]).mean(dim=0)
    torch.testing.assert_close(network(VOLUME), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "poolformer_s12"])
@torch.no_grad()
def test_inflated_network_on_a_depth_repeated_volume_equals_the_2d_network_on_its_slice(build_tiny, name, tmp_path):
    torch.manual_seed(0)
    planar = build_tiny(name, spatial_dims=2)
    save_file(planar.state_dict(), tmp_path / "planar.safetensors")
    network = build_tiny(name, volume="inflate", pretrained=tmp_path / "planar.safetensors")
    image = VOLUME[:, :, 0]
    repeated = image.unsqueeze(2).expand(-1, -1, 40, -1, -1)
    torch.testing.assert_close(network(repeated), planar(image), atol=1e-5, rtol=1e-4)


def test_pretrained_weights_reach_the_encoder(build_tiny, tmp_path):
    planar = build_tiny("resnet18", spatial_dims=2, in_channels=3, num_classes=7)
    save_file(planar.state_dict(), tmp_path / "planar.safetensors")
    network = build_tiny("resnet18", volume="slab", pretrained=tmp_path / "planar.safetensors")
    weights = planar.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.encoder.state_dict().items())


def test_every_mode_of_a_convolutional_network_applies():
    assert volume_modes("resnet18") == ("slicewise", "slab", "triplanar", "stage_grid", "acs", "inflate")


def test_modes_that_need_a_3d_network_are_rejected_for_a_2d_one():
    assert volume_modes("timm") == ("slicewise", "slab", "triplanar", "stage_grid")
    with pytest.raises(ValueError, match="volume mode 'acs'.*'timm' is 2D only; use one of slicewise, slab, triplanar"):
        build_model("timm", volume="acs")


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ("slicwise", "unknown volume mode 'slicwise'. Did you mean 'slicewise'?"),
        ({"pooling": "max"}, "volume mode: expected a name or a mapping with 'mode'"),
        ({"mode": "slicewise", "thickness": 3}, "volume mode 'slicewise' has no option 'thickness'"),
        ({"mode": "slab", "thicknes": 3}, "no option 'thicknes'. Did you mean 'thickness'?"),
        ({"mode": "acs", "pooling": "mean"}, "volume mode 'acs' has no option 'pooling'"),
        ({"mode": "slicewise", "pooling": "atention"}, "unknown slice pooling 'atention'. Did you mean 'attention'?"),
        ({"mode": "slicewise", "pooling": {"name": "max", "depth": 2}}, "slice pooling 'max' has no option 'depth'"),
    ],
)
def test_unknown_names_and_options_are_errors(build_tiny, volume, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        build_tiny("resnet18", volume=volume)


def test_pooling_options_reach_the_pooling(build_tiny):
    pooling = {"name": "transformer", "depth": 2, "num_heads": 4}
    network = build_tiny("resnet18", volume={"mode": "slicewise", "pooling": pooling})
    assert [block.attn.num_heads for block in network.pooling.blocks] == [4, 4]


def test_drop_rate_reaches_the_head(build_tiny):
    assert build_tiny("resnet18", volume={"mode": "slicewise", "drop_rate": 0.5}).drop.p == 0.5


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
