"""Against torch's own convolutions, on maps small enough for a matrix product and on larger ones."""

import pytest
import torch
from torch.nn import functional

from pipeline.models.gemm_conv import GemmConv2d, GemmConv3d

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
