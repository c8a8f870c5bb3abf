"""ModifiedResNet against open_clip's, and where it goes further."""

import pytest
import torch
from open_clip.modified_resnet import ModifiedResNet as Reference
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from torchvision.ops import SqueezeExcitation

from pipeline.models import build_model
from pipeline.models.modified_resnet import Bottleneck, Halve, ModifiedResNet

# Of OpenAI's image towers, with attention pooling.
NUM_PARAMETERS = {
    "50": 38_316_896,
    "101": 56_259_936,
    "50x4": 87_137_080,
    "50x16": 167_328_912,
    "50x64": 420_380_352,
}
SMALL = dict(layers=(2, 1, 1, 1), width=16, embed_dim=24)


def small(**options) -> ModifiedResNet:
    return randomize_norms(ModifiedResNet(**SMALL | dict(input_size=96) | options))


def reference(image_size: int = 96) -> Reference:
    return randomize_norms(Reference(SMALL["layers"], SMALL["embed_dim"], heads=8, image_size=image_size, width=16))


def randomize_norms(network: nn.Module) -> nn.Module:
    """Fresh batch norms, and residual branches that start at zero, would hide a swap."""
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert torch.allclose(found / expected.std(), expected / expected.std(), atol=1e-5)


@pytest.mark.parametrize("size", NUM_PARAMETERS)
def test_parameter_counts_are_clips_to_the_digit(size):
    with torch.device("meta"):
        tower = build_model(f"modified_resnet{size}", spatial_dims=2, in_channels=3, num_classes=0)
    assert sum(parameter.numel() for parameter in tower.parameters()) == NUM_PARAMETERS[size]


def test_tower_without_attention_pooling_has_the_published_parameters():
    with torch.device("meta"):
        tower = build_model("modified_resnet50", spatial_dims=2, in_channels=3, num_classes=0, pooling="mean")
    assert sum(parameter.numel() for parameter in tower.parameters()) == 23_527_264


@pytest.mark.slow
def test_embeddings_equal_open_clips_rn50():
    theirs = randomize_norms(Reference((3, 4, 6, 3), 1024, heads=32, image_size=224, width=64))
    tower = build_model("modified_resnet50", spatial_dims=2, in_channels=3, num_classes=0).eval()
    tower.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert_close(tower(images), theirs(images))


@pytest.mark.parametrize("size", [(96, 96), (97, 103)])
def test_stages_equal_open_clips_at_even_and_odd_sizes(size):
    theirs, tower = reference(), small(spatial_dims=2, in_channels=3, num_classes=0)
    tower.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(2, 3, *size)
    maps = [theirs.stem(images)]
    for layer in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
        maps.append(layer(maps[-1]))
    stages, embedding = tower.forward_stages(images)
    for found, expected in zip(stages, maps[1:], strict=True):
        assert_close(found, expected)
    assert_close(embedding, theirs.attnpool(maps[-1]))


def test_whole_clip_checkpoint_gives_its_image_tower_for_other_channels_and_size(tmp_path):
    theirs = reference(image_size=160)
    weights = {f"visual.{name}": value for name, value in theirs.state_dict().items()}
    save_file(weights | {"logit_scale": torch.ones(1)}, tmp_path / "clip.safetensors")
    network = build_model(
        "modified_resnet50",
        **SMALL,
        input_size=160,
        spatial_dims=2,
        num_classes=0,
        pretrained=tmp_path / "clip.safetensors",
    ).eval()
    image = torch.randn(1, 1, 160, 160)
    assert_close(network(image), theirs(image.expand(-1, 3, -1, -1)))
    smaller = build_model(
        "modified_resnet50",
        **SMALL,
        input_size=(64, 96),
        spatial_dims=2,
        num_classes=3,
        pretrained=tmp_path / "clip.safetensors",
        allow_missing=["head"],
    )
    assert smaller.attnpool.positional_embedding.shape == (1 + 2 * 3, 512)


def test_volume_that_repeats_a_slice_is_read_like_the_slice(tmp_path):
    """Attention pooling would not: it weighs one mean token against depth times as many others."""
    options = dict(SMALL, input_size=64, pooling="mean")
    planar = randomize_norms(build_model("modified_resnet50", spatial_dims=2, **options))
    save_file(planar.state_dict(), tmp_path / "planar.safetensors")
    network = build_model(
        "modified_resnet50", volume="inflate", pretrained=tmp_path / "planar.safetensors", **options
    ).eval()
    image = torch.randn(1, 1, 64, 64)
    assert_close(network(image.unsqueeze(2).expand(-1, -1, 33, -1, -1)), planar(image))


@pytest.mark.parametrize("size", [(8, 6), (9, 7), (4, 6, 8), (5, 6, 3)])
def test_halving_equals_torchs_average_pooling(size):
    x = torch.randn(2, 3, *size)
    pool = functional.avg_pool2d if len(size) == 2 else functional.avg_pool3d
    assert torch.allclose(Halve()(x), pool(x, 2), atol=1e-6)


def test_halving_leaves_an_axis_of_one_voxel_and_takes_half_precision():
    x = torch.randn(2, 3, 1, 6, 1)
    assert torch.equal(Halve()(x), (x[..., 0::2, :] + x[..., 1::2, :]) / 2)
    assert torch.allclose(Halve()(x.bfloat16()).float(), Halve()(x), atol=0.02)


@pytest.mark.parametrize("place", ["residual", "output"])
def test_squeeze_and_excitation_gates_where_it_says(place):
    block = Bottleneck(32, 8, halves=False, spatial_dims=2, se_place=place, se_reduction=4).eval()
    gates = SqueezeExcitation(32, 8)
    ours = block.se_residual if place == "residual" else block.se_output
    for name in ("fc1", "fc2"):
        getattr(gates, name).weight.data = getattr(ours, name).weight.data[..., None, None]
        getattr(gates, name).bias.data = getattr(ours, name).bias.data
    x = torch.randn(2, 32, 7, 7)
    inner = block.act(block.bn2(block.conv2(block.act(block.bn1(block.conv1(x))))))
    residual = block.bn3(block.conv3(inner))
    expected = {"residual": (gates(residual) + x).relu(), "output": gates((residual + x).relu())}
    assert torch.allclose(block(x), expected[place], atol=1e-5)


@pytest.mark.parametrize("place", ["residual", "output"])
def test_squeeze_and_excitation_reaches_every_block_with_its_reduction(place):
    gates = [m for m in small(se_place=place, se_reduction=8).modules() if type(m).__name__ == "SqueezeExcitation"]
    assert [gate.fc1.out_features for gate in gates] == [8, 8, 16, 32, 64]
    assert not any(type(m).__name__ == "SqueezeExcitation" for m in small().modules())


def test_residual_branches_start_at_zero():
    network = ModifiedResNet(**SMALL, input_size=96)
    blocks = [block for stage in network.stage_blocks() for block in stage]
    assert len(blocks) == 5
    assert not any(block.bn3.weight.any() for block in blocks)
    assert network.bn3.weight.all()


def test_pooling_options_reach_the_pool():
    network = small(pool_norm=True, pool_init="xavier")
    assert isinstance(network.attnpool.norm, nn.LayerNorm)
    assert not network.attnpool.q_proj.bias.any()
    assert small(pooling="mean").num_features == 512


@pytest.mark.parametrize("option", [{"se_place": "residul"}, {"pooling": "attenton"}, {"pool_init": "clop"}])
def test_unknown_words_name_the_nearest(option):
    with pytest.raises(ValueError, match="Did you mean '(residual|attention|clip)'?"):
        small(**option)


def test_locked_batch_norms_keep_their_statistics():
    network = small(spatial_dims=2)
    network.lock(unlocked_groups=3, freeze_bn_stats=True)
    network.train()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network(torch.randn(4, 1, 64, 64))
    moved = {name for name, buffer in network.named_buffers() if not torch.equal(buffer, before[name])}
    assert moved and all(name.startswith("layer4.") for name in moved)
    trainable = {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trainable == {"layer4", "attnpool", "head"}


def test_checkpointing_keeps_less_than_half_and_changes_no_gradient(kept_bytes):
    network = small(spatial_dims=2, layers=(2, 2, 3, 2)).train()
    images = torch.randn(2, 1, 48, 48)
    blocks = [block for stage in network.stage_blocks() for block in stage]
    kept, gradients = [], []
    for enable in (False, True):
        network.set_grad_checkpointing(enable)
        kept.append(kept_bytes(network, images, blocks))
        network.zero_grad()
        network(images).square().sum().backward()
        gradients.append(network.conv1.weight.grad.clone())
    assert kept[1] < kept[0] / 2
    torch.testing.assert_close(*gradients)
