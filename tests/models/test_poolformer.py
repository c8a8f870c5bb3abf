"""PoolFormer against the authors' parameter counts, timm's features and its own properties in 2D and 3D."""

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

from pipeline.models import build_model
from pipeline.models.layers import ChannelLayerNorm
from pipeline.models.pool_mixer import PoolMixer
from pipeline.models.poolformer import LayerScaleResidual, PoolFormer
from pipeline.models.pretrained.load import inflate_weights


def maps(size: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(8, 4, *size, dtype=dtype, requires_grad=True) for _ in range(2)]


def residual(drop_path_rate: float = 0.0, start: float = 0.3) -> LayerScaleResidual:
    return LayerScaleResidual(4, layer_scale_init_value=start, drop_path_rate=drop_path_rate).double()


@pytest.mark.parametrize("size", [(3, 5), (2, 3, 4)])
def test_values_and_gradients_of_any_order_are_those_of_the_formula(size) -> None:
    module, (x, branch) = residual(), maps(size)
    with torch.no_grad():
        module.scale.copy_(torch.tensor([0.5, -1.0, 0.0, 2.0]))
    scale = module.scale.detach().clone().requires_grad_()
    expected = x + scale.view(-1, *[1] * len(size)) * branch
    torch.testing.assert_close(module(x, branch), expected)
    weight = torch.randn_like(expected)
    ours = torch.autograd.grad((module(x, branch) * weight).sum(), [x, branch, module.scale])
    theirs = torch.autograd.grad((expected * weight).sum(), [x, branch, scale])
    torch.testing.assert_close(ours, theirs)
    assert torch.autograd.gradgradcheck(module, (x, branch))


def test_a_dropped_branch_leaves_its_scan_unchanged_and_a_kept_one_is_scaled_up() -> None:
    module, (x, branch) = residual(drop_path_rate=0.5).train(), maps((2, 2, 2))
    torch.manual_seed(1)
    added = (module(x, branch) - x) / branch
    kept = added.flatten(1).mean(1)
    torch.testing.assert_close(added, kept.view(-1, 1, 1, 1, 1).expand_as(added))
    assert {round(value, 6) for value in kept.tolist()} == {0.0, 0.6}
    gradient = torch.autograd.grad(module(x, branch).sum(), branch)[0].flatten(1)
    assert {round(value, 6) for value in gradient.mean(1).tolist()} == {0.0, 0.6}


def test_a_branch_in_half_precision_gets_its_gradient_in_half_precision() -> None:
    module, (x, branch) = residual().float(), maps((2, 2, 2), torch.float32)
    half = branch.detach().bfloat16().requires_grad_()
    module(x, half).sum().backward()
    assert half.grad.dtype == torch.bfloat16
    expected = half.detach().float().sum((0, 2, 3, 4))
    torch.testing.assert_close(module.scale.grad, expected, rtol=1e-2, atol=1e-2)


TINY = dict(depths=(1, 1, 1, 1), dims=(4, 6, 8, 10))

# Counts of the authors' code (2D) and of its port to 3D kernels: 3 channels and 1000 classes, then 1 and 2.
NUM_PARAMETERS = {
    "s12": (11_915_176, 11_396_930, 15_249_602),
    "s24": (21_388_968, 20_870_722, 24_723_394),
    "s36": (30_862_760, 30_344_514, 34_197_186),
    "m36": (56_172_520, 55_395_650, 62_391_170),
    "m48": (73_473_448, 72_696_578, 79_692_098),
}


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def randomize(network: nn.Module) -> nn.Module:
    """Weights large enough that every part of a network, layer scale included, shows in its outputs."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network.eval()


def tiny(**options) -> PoolFormer:
    return randomize(PoolFormer(**TINY | options))


@pytest.mark.parametrize("size", NUM_PARAMETERS)
def test_parameter_counts_are_the_authors_to_the_digit(size):
    name = f"poolformer_{size}"
    with torch.device("meta"):
        counts = (
            count_parameters(build_model(name, spatial_dims=2, in_channels=3, num_classes=1000)),
            count_parameters(build_model(name, spatial_dims=2, in_channels=1, num_classes=2)),
            count_parameters(build_model(name, spatial_dims=3, in_channels=1, num_classes=2)),
        )
    assert counts == NUM_PARAMETERS[size]


def test_the_smallest_size_has_the_parameters_of_its_widths_and_depths():
    widths, depths = (24, 48, 120, 192), (1, 1, 3, 1)
    stem, head = 7**3 * 24 + 24, 2 * 192 + 2 * 192 + 2
    downsamplings = sum(27 * before * after + after for before, after in zip(widths, widths[1:], strict=False))
    # Two norms, two layer scales, and an MLP of ratio 4 with its biases.
    blocks = sum(n * (4 * c + 2 * c + 8 * c * c + 5 * c) for c, n in zip(widths, depths, strict=True))
    with torch.device("meta"):
        network = build_model("poolformer_t6", spatial_dims=3, in_channels=1, num_classes=2)
    assert count_parameters(network) == stem + downsamplings + blocks + head == 1_488_506


def test_stage_maps_of_the_published_example_have_its_shapes_and_parameter_count():
    with torch.device("meta"):
        network = build_model("poolformer_s12", in_channels=1, num_classes=400)
        stages, logits = network.forward_stages(torch.empty(4, 1, 96, 128, 96))
    assert [tuple(stage.shape[1:]) for stage in stages] == [
        (64, 24, 32, 24), (128, 12, 16, 12), (320, 6, 8, 6), (512, 3, 4, 3),
    ]  # fmt: skip
    assert logits.shape == (4, 400)
    assert count_parameters(network) == 15_453_776


@pytest.fixture(scope="module")
def timm_s12() -> nn.Module:
    return randomize(timm.create_model("poolformer_s12"))


def test_stage_maps_equal_those_of_timm_with_the_same_weights(timm_s12):
    network = build_model("poolformer_s12", spatial_dims=2, in_channels=3, num_classes=1000).eval()
    network.load_state_dict(network.translate_weights(timm_s12.state_dict()))
    images = torch.randn(2, 3, 75, 98)
    with torch.no_grad():
        x, expected = timm_s12.stem(images), []
        for stage in timm_s12.stages:
            x = stage(x)
            expected.append(x)
        stages, _ = network.forward_stages(images)
    for found, wanted in zip(stages, expected, strict=True):
        assert torch.allclose(found / wanted.std(), wanted / wanted.std(), atol=1e-5)


def authors_names(network: PoolFormer) -> dict[str, torch.Tensor]:
    """The state dict under the names of sail-sg/poolformer, whose `network` holds stages and downsamplings in turn."""
    state = {}
    for name, value in network.state_dict().items():
        part, _, rest = name.partition(".")
        index, _, inner = rest.partition(".")
        if part == "stem":
            state[f"patch_embed.proj.{rest}"] = value
        elif part == "stages" and inner.startswith("downsample."):
            state[f"network.{2 * int(index) - 1}.proj.{inner.removeprefix('downsample.')}"] = value
        elif part == "stages":
            inner = inner.removeprefix("blocks.").replace("layer_scale1.scale", "layer_scale_1")
            kernel = value[..., None, None] if ".fc" in inner and inner.endswith("weight") else value
            state[f"network.{2 * int(index)}.{inner.replace('layer_scale2.scale', 'layer_scale_2')}"] = kernel
        elif part == "stage_norms":
            state[f"norm{2 * int(index)}.{inner}"] = value
        else:
            state[name] = value
    return state


def test_checkpoint_under_the_authors_names_loads_to_the_same_network(tmp_path):
    options = dict(spatial_dims=2, in_channels=3, num_classes=5, fork_feat=True)
    source = randomize(build_model("poolformer_s12", **options))
    torch.save(authors_names(source), tmp_path / "authors.pth.tar")
    loaded = build_model("poolformer_s12", **options, pretrained=tmp_path / "authors.pth.tar").eval()
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize("norm", ["group", "layer", "batch", "instance"])
def test_inflated_network_on_a_depth_repeated_volume_equals_the_2d_one_on_its_slice(norm):
    flat, deep = tiny(spatial_dims=2, norm=norm, fork_feat=True), tiny(spatial_dims=3, norm=norm, fork_feat=True)
    shapes = {name: value.shape for name, value in deep.state_dict().items()}
    deep.load_state_dict(inflate_weights(flat.state_dict(), shapes))
    image = torch.randn(2, 1, 45, 70)
    volume = image.unsqueeze(2).expand(-1, -1, 40, -1, -1)
    flat_stages, flat_logits = flat.forward_stages(image)
    deep_stages, deep_logits = deep.forward_stages(volume)
    assert torch.allclose(deep_logits, flat_logits, atol=1e-5)
    for deep_map, flat_map in zip(deep_stages, flat_stages, strict=True):
        assert torch.allclose(deep_map, flat_map.unsqueeze(2).expand_as(deep_map), atol=1e-4)


def test_head_norms_before_it_pools():
    network = tiny(spatial_dims=2)
    features = torch.randn(2, 10, 3, 4)
    normed = functional.group_norm(features, 1, network.norm.weight, network.norm.bias)
    assert torch.allclose(network.forward_head(features), network.head(normed.mean((2, 3))), atol=1e-6)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_linear_layers_start_as_the_authors_start_them(spatial_dims):
    network = build_model("poolformer_s12", spatial_dims=spatial_dims)
    for block in network.stages[3].blocks:
        for layer in (block.mlp.fc1, block.mlp.fc2):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.02)
            assert layer.bias.abs().max() == 0
        assert torch.equal(block.layer_scale1.scale, torch.full((512,), 1e-5))
    assert network.head.weight.std().item() == pytest.approx(0.02, rel=0.15)


def test_fork_feat_gives_each_stage_map_its_own_norm_and_leaves_the_logits():
    forked, plain = tiny(fork_feat=True), tiny()
    plain.load_state_dict(forked.state_dict(), strict=False)
    volume = torch.randn(2, 1, 33, 33, 33)
    forked_stages, forked_logits = forked.forward_stages(volume)
    plain_stages, plain_logits = plain.forward_stages(volume)
    assert torch.equal(forked_logits, plain_logits)
    for norm, forked_map, plain_map in zip(forked.stage_norms, forked_stages, plain_stages, strict=True):
        assert torch.equal(forked_map, norm(plain_map))


def test_reset_classifier_changes_the_classes_and_nothing_else():
    network = tiny()
    volume = torch.randn(2, 1, 33, 33, 33)
    embedding = network.forward_head(network.forward_features(volume), pre_logits=True)
    network.reset_classifier(7)
    assert network(volume).shape == (2, 7) == (2, network.num_classes)
    network.reset_classifier(0)
    assert torch.equal(network(volume), embedding)


def test_small_volumes_keep_two_tokens_per_axis_with_a_stem_of_stride_two():
    volume = torch.randn(1, 1, 28, 28, 28)
    assert tiny().forward_features(volume).shape[2:] == (1, 1, 1)
    assert tiny(stem_stride=2).forward_features(volume).shape[2:] == (2, 2, 2)


def test_coarse_depth_is_kept_by_strides_of_one_along_it():
    network = tiny(stem_size=(3, 7, 7), stem_stride=(1, 4, 4), down_strides=((1, 2, 2), (2, 2, 2), 2))
    stages, _ = network.forward_stages(torch.randn(1, 1, 20, 64, 64))
    assert [tuple(stage.shape[2:]) for stage in stages] == [(20, 16, 16), (20, 8, 8), (10, 4, 4), (5, 2, 2)]


@pytest.mark.parametrize(
    "norm, kind", [("group", nn.GroupNorm), ("layer", ChannelLayerNorm), ("batch", nn.BatchNorm3d)]
)
def test_norm_reaches_every_block_and_the_head(norm, kind):
    network = PoolFormer(**TINY, norm=norm, fork_feat=True)
    norms = [module for module in network.modules() if "Norm" in type(module).__name__]
    assert len(norms) == 2 * 4 + 4 + 1
    assert all(type(module) is kind for module in norms)


def test_group_norm_has_one_group_and_the_authors_epsilon():
    norms = [module for module in PoolFormer(**TINY).modules() if isinstance(module, nn.GroupNorm)]
    assert {(module.num_groups, module.eps) for module in norms} == {(1, 1e-5)}


def test_pool_size_and_mlp_ratio_reach_every_block():
    network = PoolFormer(**TINY, pool_size=5, mlp_ratio=2.5)
    assert {module.radii for module in network.modules() if isinstance(module, PoolMixer)} == {(2, 2, 2)}
    assert [stage.blocks[0].mlp.fc1.out_features for stage in network.stages] == [10, 15, 20, 25]


def test_layer_scale_of_zero_leaves_it_out():
    assert not [name for name, _ in PoolFormer(**TINY, layer_scale_init_value=0).named_parameters() if "scale" in name]


def test_drop_path_grows_linearly_over_depth_and_acts_in_training_only():
    network = build_model("poolformer_s12", drop_path_rate=0.22)
    rates = [block.layer_scale2.drop_path.p for stage in network.stages for block in stage.blocks]
    assert rates == pytest.approx([0.02 * index for index in range(12)])
    certain = tiny(drop_path_rate=1.0, depths=(1, 1, 1, 2))
    block, x = certain.stages[3].blocks[1], torch.randn(2, 10, 3, 3, 3)
    assert not torch.allclose(block(x), x)
    assert torch.equal(block.train()(x), x)


def test_drop_rate_thins_out_the_linear_layers_while_training():
    mlp = PoolFormer(**TINY, drop_rate=0.5).stages[3].blocks[0].mlp
    nn.init.ones_(mlp.fc2.bias)
    x = torch.randn(2, 10, 8, 8, 8)
    assert (mlp(x) == 0).float().mean() == pytest.approx(0.5, abs=0.05)
    assert (mlp.eval()(x) == 0).sum() == 0


@pytest.mark.parametrize("size, drop_path_rate", [("s12", 0.1), ("s24", 0.1), ("s36", 0.2), ("m36", 0.3), ("m48", 0.4)])
def test_each_size_drops_paths_as_its_authors_did(size, drop_path_rate):
    with torch.device("meta"):
        network = build_model(f"poolformer_{size}", spatial_dims=2)
    assert network.stages[3].blocks[-1].layer_scale1.drop_path.p == drop_path_rate


def test_image_given_to_a_volume_network_is_rejected_and_not_read_as_an_unbatched_volume():
    with pytest.raises(ValueError, match=r"expected .* \(B, C, D, H, W\) with C = 1, got shape \(1, 64, 64, 64\)"):
        tiny()(torch.randn(1, 64, 64, 64))


def test_wrong_number_of_stages_is_rejected():
    with pytest.raises(ValueError, match="four depths, four dims and three down_strides"):
        PoolFormer(depths=(1, 1, 1), dims=(4, 6, 8, 10))
    with pytest.raises(ValueError, match="spatial_dims must be 2 for images or 3 for volumes, got 4"):
        PoolFormer(**TINY, spatial_dims=4)
    with pytest.raises(ValueError, match="unknown norm 'grup'. Did you mean 'group'"):
        PoolFormer(**TINY, norm="grup")
