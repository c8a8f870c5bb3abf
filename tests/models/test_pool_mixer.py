"""The pooling mixer against torch's average pooling, and its own properties."""

import pytest
import torch
from torch import nn

from pipeline.models.pool_mixer import PoolMixer

STOCK_POOL = {2: nn.AvgPool2d, 3: nn.AvgPool3d}


def stock_mix(x: torch.Tensor, pool_size: int) -> torch.Tensor:
    """The authors' mixer, with torch's kernel."""
    pool = STOCK_POOL[x.dim() - 2](pool_size, stride=1, padding=pool_size // 2, count_include_pad=False)
    return pool(x) - x


@pytest.mark.parametrize("pool_size", [1, 3, 5])
@pytest.mark.parametrize("size", [(9, 14), (5, 8, 11)])
def test_mixing_equals_stock_average_pooling_forward_and_backward(size, pool_size):
    x = torch.randn(2, 3, *size, requires_grad=True)
    weights = torch.randn(2, 3, *size)
    mixed, expected = PoolMixer(len(size), pool_size)(x), stock_mix(x, pool_size)
    assert torch.allclose(mixed, expected, atol=1e-6)
    (grad,) = torch.autograd.grad((mixed * weights).sum(), x)
    (expected_grad,) = torch.autograd.grad((expected * weights).sum(), x)
    assert torch.allclose(grad, expected_grad, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 4), (1, 1, 1), (2, 1, 5), (3, 2, 4)])
@pytest.mark.parametrize("pool_size", [3, (5, 7, 3)])
def test_gradient_is_exact_on_axes_shorter_than_the_window(size, pool_size):
    pool_size = pool_size if isinstance(pool_size, int) else pool_size[: len(size)]
    x = torch.randn(2, 2, *size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(PoolMixer(len(size), pool_size), x)
    assert torch.autograd.gradgradcheck(PoolMixer(len(size), pool_size), x)


def test_short_axis_is_averaged_over_the_voxels_it_has():
    x = torch.tensor([[[[1.0, 4.0], [3.0, 8.0]]]])
    assert torch.allclose(PoolMixer(2, 3)(x), 4.0 - x)


@pytest.mark.parametrize("size", [(6, 7), (4, 5, 6)])
def test_constant_map_mixes_to_zero_up_to_the_border(size):
    assert PoolMixer(len(size), 3)(torch.full((1, 2, *size), 7.3)).abs().max() < 1e-6


def test_depth_constant_volume_mixes_like_its_slice():
    image = torch.randn(2, 3, 7, 9)
    volume = image.unsqueeze(2).expand(-1, -1, 5, -1, -1)
    mixed = PoolMixer(3, 3)(volume)
    assert torch.allclose(mixed, PoolMixer(2, 3)(image).unsqueeze(2).expand_as(mixed), atol=1e-6)


def test_window_of_one_voxel_along_depth_mixes_each_slice_by_itself():
    volume = torch.randn(1, 2, 4, 6, 5)
    slices = volume.transpose(1, 2).flatten(0, 1)
    expected = PoolMixer(2, 3)(slices).unflatten(0, (1, 4)).transpose(1, 2)
    assert torch.allclose(PoolMixer(3, (1, 3, 3))(volume), expected, atol=1e-6)


def test_input_is_not_changed():
    x = torch.randn(1, 2, 4, 4, 4)
    before = x.clone()
    PoolMixer(3, 3)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rounds_only_once(dtype):
    x = torch.randn(1, 2, 6, 6, 6).to(dtype).requires_grad_()
    wide = x.detach().float().requires_grad_()
    weights = torch.randn(x.shape).to(dtype)
    mixed, expected = PoolMixer(3, 3)(x), stock_mix(wide, 3)
    mixed.backward(weights)
    expected.backward(weights.float())
    one_rounding = {"rtol": torch.finfo(dtype).eps / 2, "atol": 1e-6}
    assert mixed.dtype == x.grad.dtype == dtype
    assert torch.allclose(mixed.float(), expected, **one_rounding)
    assert torch.allclose(x.grad.float(), wide.grad, **one_rounding)


def test_channels_last_memory_gives_the_same_numbers():
    x = torch.randn(2, 4, 5, 6, 7)
    assert torch.equal(PoolMixer(3, 3)(x.contiguous(memory_format=torch.channels_last_3d)), PoolMixer(3, 3)(x))


def test_exported_mixer_takes_other_sizes():
    axes = {axis: torch.export.Dim.DYNAMIC for axis in (0, 2, 3, 4)}
    exported = torch.export.export(PoolMixer(3, 3), (torch.randn(2, 3, 6, 7, 8),), dynamic_shapes=(axes,))
    x = torch.randn(4, 3, 9, 5, 11)
    assert torch.allclose(exported.module()(x), stock_mix(x, 3), atol=1e-6)


def test_compiled_mixer_is_one_graph_with_the_same_values_and_gradients():
    x = torch.randn(2, 3, 6, 7, 8, requires_grad=True)
    mixer = PoolMixer(3, 3)
    compiled = torch.compile(mixer, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(x), mixer(x), atol=1e-6)
    (grad,) = torch.autograd.grad(compiled(x).square().sum(), x)
    (expected,) = torch.autograd.grad(mixer(x).square().sum(), x)
    assert torch.allclose(grad, expected, atol=1e-5)


@pytest.mark.parametrize("pool_size", [2, (3, 4, 3), 0, (3, 3)])
def test_window_without_a_center_or_of_the_wrong_length_is_rejected(pool_size):
    with pytest.raises(ValueError, match="pool_size must be"):
        PoolMixer(3, pool_size)
