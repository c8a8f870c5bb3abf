"""Vision transformer against timm's, and what it adds."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from pipeline.models import build_model
from pipeline.models.vit import ViT

# timm's, 3 channels and 1000 classes at 224 x 224.
NUM_PARAMETERS = {"vit_tiny": 5_717_416, "vit_small": 22_050_664, "vit_base": 86_567_656}
SMALL = dict(dim=32, depth=8, num_heads=4, patch_size=8)


def small(**options) -> ViT:
    return ViT(**SMALL | dict(input_size=32) | options).eval()


def reference(**options) -> VisionTransformer:
    """timm's twin, with weights large enough that a wrong one would show."""
    sizes = dict(img_size=32, patch_size=8, embed_dim=32, depth=8, num_heads=4, in_chans=1, num_classes=5)
    network = VisionTransformer(**sizes, dynamic_img_size=True, dynamic_img_pad=True, **options).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network


@pytest.mark.parametrize("name", NUM_PARAMETERS)
def test_parameter_counts_are_timms(name):
    with torch.device("meta"):
        network = build_model(name, spatial_dims=2, in_channels=3, num_classes=1000)
    assert sum(parameter.numel() for parameter in network.parameters()) == NUM_PARAMETERS[name]


@pytest.mark.parametrize("size", [(32, 32), (40, 24), (13, 70), (1, 5)])
@pytest.mark.parametrize(
    ("pooling", "options"), [("token", {}), ("mean", dict(class_token=False, global_pool="avg", fc_norm=False))]
)
def test_logits_equal_timms_with_the_same_weights_at_any_size(pooling, options, size):
    theirs = reference(**options)
    network = small(spatial_dims=2, num_classes=5, pooling=pooling)
    network.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(2, 1, *size)
    assert torch.allclose(network(images), theirs(images), atol=1e-5)


def test_tiny_takes_the_weights_of_timms_tiny():
    theirs = timm.create_model("vit_tiny_patch16_224").eval()
    network = build_model("vit_tiny", spatial_dims=2, in_channels=3, num_classes=1000).eval()
    network.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.allclose(network(images), theirs(images), atol=1e-5)


def test_stages_are_four_equal_parts_of_the_depth():
    theirs = reference()
    network = small(spatial_dims=2, num_classes=5)
    network.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 1, 24, 40)
    stages, logits = network.forward_stages(images)
    expected = theirs.forward_intermediates(images, indices=[1, 3, 5, 7], norm=False, intermediates_only=True)
    for found, known in zip(stages, expected, strict=True):
        assert torch.allclose(found, known, atol=1e-5)
    assert torch.equal(logits, network(images))


def test_volume_that_repeats_a_slice_is_read_like_the_slice(tmp_path):
    """With a class token it is not: attention then weighs one token against depth times as many others."""
    options = dict(SMALL, input_size=32, pooling="mean")
    planar = build_model("vit_tiny", spatial_dims=2, **options).eval()
    save_file(planar.state_dict(), tmp_path / "planar.safetensors")
    network = build_model("vit_tiny", volume="inflate", pretrained=tmp_path / "planar.safetensors", **options).eval()
    image = torch.randn(2, 1, 32, 32)
    volume = image.unsqueeze(2).expand(-1, -1, 32, -1, -1)
    assert torch.allclose(network(volume), planar(image), atol=1e-5)


def test_weights_of_another_input_size_fit(tmp_path):
    theirs = reference()
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    options = dict(SMALL, spatial_dims=2, num_classes=5, input_size=(24, 56))
    network = build_model("vit_tiny", **options, pretrained=tmp_path / "weights.safetensors").eval()
    images = torch.randn(1, 1, 24, 56)
    assert network.pos_embed.shape[1] == 1 + 3 * 7
    assert torch.allclose(network(images), theirs(images), atol=1e-5)


def test_anisotropic_patches_make_one_token_each():
    network = small(patch_size=(2, 8, 4), input_size=(6, 16, 16), pooling="mean")
    assert network.patch_embed.proj.kernel_size == (2, 8, 4)
    assert network.pos_embed.shape[1] == 3 * 2 * 4
    stages = network.forward_stages(torch.randn(1, 1, 5, 17, 1)).stages
    assert [tuple(stage.shape[2:]) for stage in stages] == [(3, 3, 1)] * 4


def test_far_border_is_filled_with_zeros():
    network = small(pooling="mean")
    volume = torch.randn(1, 1, 9, 10, 23)
    padded = nn.functional.pad(volume, (0, 1, 0, 6, 0, 7))
    assert torch.equal(network(volume), network(padded))


@pytest.mark.parametrize(("options", "kind"), [({"norm": "rmsnorm"}, nn.LayerNorm), ({"activation": "relu2"}, nn.GELU)])
def test_options_reach_every_block(options, kind):
    assert not any(isinstance(module, kind) for module in small(**options).modules())


def test_multi_query_attention_reaches_every_block():
    network = small(num_kv_heads=1, qkv_bias=False)
    assert [block.attn.qkv.out_features for block in network.blocks] == [32 + 2 * 8] * 8
    assert all(block.attn.qkv.bias is None for block in network.blocks)


def test_drop_path_grows_linearly_with_depth():
    rates = [block.drop_path.p for block in small(drop_path_rate=0.7).blocks]
    assert rates == pytest.approx([0.1 * index for index in range(8)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 3}, "depth must be 4 or more"),
        ({"pooling": "tokens"}, "unknown value 'tokens'. Did you mean 'token'?"),
        ({"patch_size": (8, 8)}, "patch_size must be one number from 1 up, or 3 of them"),
    ],
)
def test_impossible_options_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_lock_leaves_the_last_groups():
    network = small()
    network.lock(unlocked_groups=2)
    trainable = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[0] for name in trainable} == {"blocks", "norm", "head"}
    assert all(name.startswith(("blocks.7.", "norm.", "head.")) for name in trainable)


def test_checkpointing_keeps_less_than_half_and_changes_no_gradient(kept_bytes):
    network = small().train()
    volumes = torch.randn(2, 1, 32, 32, 32)
    kept, gradients = [], []
    for enable in (False, True):
        network.set_grad_checkpointing(enable)
        kept.append(kept_bytes(network, volumes, network.blocks))
        network.zero_grad()
        network(volumes).square().sum().backward()
        gradients.append(network.patch_embed.proj.weight.grad.clone())
    assert kept[1] < kept[0] / 2
    assert torch.allclose(*gradients, atol=1e-6)
