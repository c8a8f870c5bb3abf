"""The shared layers against torch's own."""

import pytest
import torch
from torch.nn import functional

from pipeline.models.layers import (
    ChannelLayerNorm,
    DropPath,
    GemmConv2d,
    GemmConv3d,
    norm_layer,
    per_axis,
    spread_over_depth,
    strided_conv,
)

STOCK = {GemmConv2d: functional.conv2d, GemmConv3d: functional.conv3d}
CASES = [
    (GemmConv2d, (5, 4), dict(kernel_size=3, stride=2, padding=1)),
    (GemmConv2d, (6, 7), dict(kernel_size=(2, 5), stride=(1, 3), padding=(0, 2), bias=False)),
    (GemmConv3d, (4, 5, 3), dict(kernel_size=3, stride=2, padding=1)),
    (GemmConv3d, (1, 1, 1), dict(kernel_size=3, stride=1, padding=1, bias=False)),
    (GemmConv3d, (4, 6, 5), dict(kernel_size=(1, 2, 3), stride=(2, 1, 3), padding=(0, 1, 2))),
]


def products(run) -> set[str]:
    """Names of the operations that `run` calls."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run()
    return {event.key for event in profile.key_averages()}


@pytest.mark.parametrize("out_channels", [8, 640])
@pytest.mark.parametrize("kind, size, options", CASES)
def test_values_and_gradients_are_those_of_the_stock_convolution(kind, size, options, out_channels) -> None:
    torch.manual_seed(0)
    conv = kind(6, out_channels, **options).double()
    x = torch.randn(2, 6, *size, dtype=torch.float64, requires_grad=True)
    expected = STOCK[kind](x, conv.weight, conv.bias, conv.stride, conv.padding)
    ours = conv(x)
    torch.testing.assert_close(ours, expected)
    weight = torch.randn_like(expected)
    inputs = [x, *conv.parameters()]
    theirs = torch.autograd.grad((expected * weight).sum(), inputs)
    torch.testing.assert_close(torch.autograd.grad((ours * weight).sum(), inputs), theirs)


def test_small_outputs_of_wide_layers_are_matrix_products_and_others_stay_convolutions() -> None:
    conv = GemmConv3d(4, 64, 3, stride=2, padding=1)
    small, large = torch.randn(4, 4, 4, 4, 4), torch.randn(5, 4, 4, 4, 4)
    assert "aten::convolution" not in products(lambda: conv(small))
    assert "aten::convolution" in products(lambda: conv(large))


def test_a_map_smaller_than_the_kernel_is_rejected_in_torch_s_own_words() -> None:
    with pytest.raises(RuntimeError, match="[Kk]ernel size can't be greater than actual input size"):
        GemmConv3d(4, 64, 5)(torch.randn(1, 4, 2, 2, 2))


def test_half_precision_comes_back_in_half_precision() -> None:
    conv, x = GemmConv3d(4, 64, 3, padding=1), torch.randn(2, 4, 2, 2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = conv(x)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), functional.conv3d(x, conv.weight, conv.bias, padding=1), atol=2e-2, rtol=0)


# Kernel, stride and padding of the published networks: PoolFormer's stem and downsampling, ResNet's stem, 3x3 and 1x1.
@pytest.mark.parametrize(
    "size, stride, padding", [(7, 4, 2), (3, 2, 1), (7, 2, 3), (3, 1, 1), (1, 1, 0), (1, 2, 0), (2, 4, 0)]
)
def test_padding_is_that_of_the_published_networks(size, stride, padding):
    assert strided_conv(3, 1, 1, size, stride).padding == (padding,) * 3


def test_padding_follows_each_axis():
    conv = strided_conv(3, 1, 2, (3, 7, 7), (1, 4, 4))
    assert (conv.kernel_size, conv.stride, conv.padding) == ((3, 7, 7), (1, 4, 4), (1, 2, 2))


@pytest.mark.parametrize("size", [0, (3, 3), (3, -1, 3)])
def test_size_that_is_not_one_number_per_axis_is_rejected(size):
    with pytest.raises(ValueError, match="stem_size must be one number from 1 up, or 3 of them"):
        per_axis(size, 3, "stem_size")


def test_channel_layer_norm_normalizes_each_token():
    norm = ChannelLayerNorm(6, eps=1e-5)
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(2, 6, 3, 4, 5)
    expected = functional.layer_norm(x[1, :, 2, 0, 3], (6,), norm.weight, norm.bias)
    assert torch.allclose(norm(x)[1, :, 2, 0, 3], expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["batch", "instance", "group", "layer"])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_norm_centers_and_scales_its_axes(kind, spatial_dims):
    x = 3 + 2 * torch.randn(4, 6, *(5, 6, 7)[:spatial_dims])
    normed = norm_layer(kind, spatial_dims, 6)(x)
    over = {"batch": (0, *range(2, x.dim())), "instance": tuple(range(2, x.dim())), "layer": (1,)}
    axes = over.get(kind, tuple(range(1, x.dim())))
    expected = (x - x.mean(axes, keepdim=True)) / x.std(axes, keepdim=True, correction=0)
    assert torch.allclose(normed, expected, atol=1e-3)


def test_drop_path_keeps_the_mean_and_drops_whole_samples():
    dropped = DropPath(0.25)(torch.ones(4000, 3, 2))
    assert set(dropped.flatten(1).sum(1).tolist()) == {0.0, 8.0}
    assert dropped.mean().item() == pytest.approx(1, abs=0.05)


def test_rates_grow_linearly_over_all_blocks():
    assert spread_over_depth(0.5, (2, 1, 3)) == [[0.0, 0.1], [0.2], [pytest.approx(0.3), 0.4, 0.5]]
    assert spread_over_depth(0.5, (1,)) == [[0.0]]
