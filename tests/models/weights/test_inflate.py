"""2D kernels in 3D against the 2D convolution on the slice of a volume that is constant along depth."""

import pytest
import torch
from torch.nn import functional

from pipeline.models.weights.inflate import inflate_kernel, inflate_weights

IMAGE = torch.randn(1, 2, 9, 8, generator=torch.Generator().manual_seed(0))
KERNEL = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(1))
DEPTH = 7


def convolve_repeated(inflation: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The inflated kernel on the repeated image, and the 2D one on the image, repeated."""
    volume = IMAGE.unsqueeze(2).expand(-1, -1, DEPTH, -1, -1)
    found = functional.conv3d(volume, inflate_kernel(KERNEL, 3, inflation), padding=1)
    return found, functional.conv2d(IMAGE, KERNEL, padding=1).unsqueeze(2).expand_as(found)


def test_centre_inflation_is_exact_up_to_the_border():
    found, expected = convolve_repeated("centre")
    assert torch.allclose(found, expected, atol=1e-5)


def test_mean_inflation_is_exact_inside_and_fades_at_the_border():
    found, expected = convolve_repeated("mean")
    assert torch.allclose(found[:, :, 1:-1], expected[:, :, 1:-1], atol=1e-5)
    assert torch.allclose(found[:, :, 0], expected[:, :, 0] * 2 / 3, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 4, 7])
@pytest.mark.parametrize("inflation", ["centre", "mean"])
def test_kernel_summed_over_depth_is_the_2d_kernel(depth, inflation):
    assert torch.allclose(inflate_kernel(KERNEL, depth, inflation).sum(2), KERNEL, atol=1e-6)


def test_only_kernels_that_are_3d_in_the_network_are_inflated():
    weights = {"conv": KERNEL, "linear": torch.ones(4, 2), "other": KERNEL}
    shapes = {"conv": torch.Size((4, 2, 5, 3, 3)), "linear": torch.Size((4, 2))}
    inflated = inflate_weights(weights, shapes)
    assert inflated["conv"].shape == (4, 2, 5, 3, 3)
    assert inflated["linear"] is weights["linear"] and inflated["other"] is KERNEL


def test_unknown_inflation_names_the_nearest():
    with pytest.raises(ValueError, match="unknown inflation 'center'. Did you mean 'centre'"):
        inflate_kernel(KERNEL, 3, "center")
