"""The one key `volume`: modes, their options and what they do to networks."""

import pytest
import torch
from safetensors.torch import save_file

from pipeline.models import build_model
from pipeline.models.volume import volume_modes

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
