"""ResNet against torchvision's, with the same random weights, and its own options."""

import pytest
import torch
import torchvision.models
from torch import nn

from pipeline.models import build_model
from pipeline.models.layers import ChannelLayerNorm
from pipeline.models.pretrained.load import inflate_weights
from pipeline.models.resnet import BasicBlock, Bottleneck, ResNet

# Of torchvision, 3 channels: 1000 classes, and without the head.
NUM_PARAMETERS = {
    18: (11_689_512, 11_176_512),
    34: (21_797_672, 21_284_672),
    50: (25_557_032, 23_508_032),
    101: (44_549_160, 42_500_160),
    152: (60_192_808, 58_143_808),
}


def randomize_norms(network: nn.Module) -> nn.Module:
    """Batch norms with statistics and weights of their own: fresh ones would hide a swap."""
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
    return network.eval()


def small(**options) -> ResNet:
    return randomize_norms(ResNet(block=BasicBlock, depths=(1, 1, 1, 1), **options))


@pytest.mark.parametrize("depth", NUM_PARAMETERS)
def test_parameter_counts_are_torchvisions_to_the_digit(depth):
    with torch.device("meta"):
        networks = [
            build_model(f"resnet{depth}", spatial_dims=2, in_channels=3, num_classes=num_classes)
            for num_classes in (1000, 0)
        ]
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in networks]
    assert tuple(counts) == NUM_PARAMETERS[depth]


@pytest.mark.parametrize("depth", [18, 50])
def test_logits_equal_torchvision_with_the_same_weights(depth):
    reference = randomize_norms(torchvision.models.get_model(f"resnet{depth}"))
    network = build_model(f"resnet{depth}", spatial_dims=2, in_channels=3, num_classes=1000).eval()
    network.load_state_dict(reference.state_dict(), strict=True)
    images = torch.randn(2, 3, 75, 98)
    with torch.no_grad():
        expected, found = reference(images), network(images)
    assert torch.allclose(found / expected.std(), expected / expected.std(), atol=1e-5)


@pytest.mark.parametrize("depth", [34, 101, 152])
def test_state_dict_has_torchvisions_names_and_shapes(depth):
    with torch.device("meta"):
        reference = torchvision.models.get_model(f"resnet{depth}").state_dict()
        network = build_model(f"resnet{depth}", spatial_dims=2, in_channels=3, num_classes=1000).state_dict()
    assert {k: v.shape for k, v in network.items()} == {k: v.shape for k, v in reference.items()}


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_inflated_network_on_a_depth_repeated_volume_equals_the_2d_one_on_its_slice(block):
    options = dict(block=block, depths=(1, 2, 1, 1))
    flat, deep = randomize_norms(ResNet(**options, spatial_dims=2)), ResNet(**options, spatial_dims=3).eval()
    shapes = {name: value.shape for name, value in deep.state_dict().items()}
    deep.load_state_dict(inflate_weights(flat.state_dict(), shapes))
    image = torch.randn(2, 1, 45, 70)
    volume = image.unsqueeze(2).expand(-1, -1, 20, -1, -1)
    with torch.no_grad():
        flat_logits, deep_logits = flat(image), deep(volume)
    assert torch.allclose(deep_logits, flat_logits, atol=1e-5)


def test_without_a_head_it_gives_the_pooled_last_stage():
    network = small(num_classes=0)
    volume = torch.randn(2, 1, 20, 33, 40)
    stages, embedding = network.forward_stages(volume)
    assert torch.allclose(embedding, stages[3].mean((2, 3, 4)), atol=1e-6)
    assert torch.equal(network(volume), embedding)


@pytest.mark.parametrize(
    "norm, kind", [("instance", nn.GroupNorm), ("group", nn.GroupNorm), ("layer", ChannelLayerNorm)]
)
def test_norm_leaves_no_batch_norm_anywhere(norm, kind):
    network = build_model("resnet50", spatial_dims=2, norm=norm)
    norms = [module for module in network.modules() if "Norm" in type(module).__name__]
    assert len(norms) == 53
    assert all(type(module) is kind for module in norms)


def test_instance_norm_equals_torchs_and_takes_a_map_of_one_voxel():
    norm = ResNet(block=BasicBlock, depths=(1, 1, 1, 1), norm="instance").bn1
    x = torch.randn(2, 64, 3, 4, 5)
    assert torch.allclose(norm(x), nn.functional.instance_norm(x), atol=1e-5)
    assert norm(torch.randn(2, 64, 1, 1, 1)).abs().max() < 1e-4


def test_stem_options_keep_more_tokens():
    volume = torch.randn(1, 1, 28, 28, 28)
    assert small().forward_features(volume).shape[2:] == (1, 1, 1)
    assert small(stem_stride=1).forward_features(volume).shape[2:] == (2, 2, 2)
    assert small(stem_pool=False).forward_features(volume).shape[2:] == (2, 2, 2)
    anisotropic = small(stem_size=(3, 7, 7), stem_stride=(1, 2, 2), stem_pool=False, down_strides=((1, 2, 2), 2, 2))
    assert anisotropic.forward_features(volume).shape[2:] == (7, 2, 2)


def test_drop_path_of_one_leaves_the_shortcut_alone():
    network = small(drop_path_rate=1.0).train()
    block, x = network.layer4[0], torch.randn(2, 256, 4, 4, 4)
    assert torch.equal(block(x), block.downsample(x).relu())
    assert not torch.allclose(block.eval()(x), block.downsample(x).relu())


def test_drop_rate_thins_out_the_embedding_while_training():
    network = small(drop_rate=0.5, num_classes=0)
    features = torch.ones(4, 512, 2, 2, 2)
    assert torch.equal(network.forward_head(features), torch.ones(4, 512))
    assert set(network.train().forward_head(features).unique().tolist()) == {0.0, 2.0}


def test_wrong_number_of_stages_is_rejected():
    with pytest.raises(ValueError, match="resnet: expected four depths, four dims and three down_strides"):
        ResNet(block=BasicBlock, depths=(2, 2, 2))
    with pytest.raises(ValueError, match=r"got depths \(1, 1, 1, 1\), dims \(8, 16\)"):
        build_model("resnet18", depths=(1, 1, 1, 1), dims=(8, 16))


@pytest.mark.parametrize(("depth", "expansion"), [(18, 1), (50, 4)])
def test_dims_are_the_widths_of_stem_and_stages(depth, expansion):
    dims = (8, 12, 20, 36)
    network = build_model(f"resnet{depth}", dims=dims, num_classes=0).eval()
    volume = torch.randn(1, 1, 32, 32, 32)
    assert network.forward_stem(volume).shape[1] == dims[0]
    stages, embedding = network.forward_stages(volume)
    assert [stage.shape[1] for stage in stages] == [expansion * width for width in dims]
    assert embedding.shape == (1, network.num_features) and network.num_features == expansion * dims[-1]
    # Half as wide is a quarter of the weights: no width is left out.
    half, whole = (build_model(f"resnet{depth}", dims=[width * n for width in dims]) for n in (1, 2))
    kernels = [[p.numel() for p in network.parameters() if p.dim() == 5] for network in (half, whole)]
    assert [4 * size for size in kernels[0][1:]] == kernels[1][1:]
