"""2D kernels in 3D against the 2D convolution on the slice of a volume that is constant along depth."""

import pytest
import torch
from timm.layers import resample_abs_pos_embed
from torch.nn import functional

from pipeline.models.pretrained.adapt import fit_positions, inflate_kernel, inflate_weights, resize_positions

IMAGE = torch.randn(1, 2, 9, 8, generator=torch.Generator().manual_seed(0))
KERNEL = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(1))
DEPTH = 7


def convolve_repeated(inflation: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The inflated kernel on the repeated image, and the 2D one on the image, repeated."""
    volume = IMAGE.unsqueeze(2).expand(-1, -1, DEPTH, -1, -1)
    found = functional.conv3d(volume, inflate_kernel(KERNEL, 3, inflation), padding=1)
    return found, functional.conv2d(IMAGE, KERNEL, padding=1).unsqueeze(2).expand_as(found)


def test_center_inflation_is_exact_up_to_the_border():
    found, expected = convolve_repeated("center")
    assert torch.allclose(found, expected, atol=1e-5)


def test_mean_inflation_is_exact_inside_and_fades_at_the_border():
    found, expected = convolve_repeated("mean")
    assert torch.allclose(found[:, :, 1:-1], expected[:, :, 1:-1], atol=1e-5)
    assert torch.allclose(found[:, :, 0], expected[:, :, 0] * 2 / 3, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 4, 7])
@pytest.mark.parametrize("inflation", ["center", "mean"])
def test_kernel_summed_over_depth_is_the_2d_kernel(depth, inflation):
    assert torch.allclose(inflate_kernel(KERNEL, depth, inflation).sum(2), KERNEL, atol=1e-6)


def test_only_kernels_that_are_3d_in_the_network_are_inflated():
    weights = {"conv": KERNEL, "linear": torch.ones(4, 2), "other": KERNEL}
    shapes = {"conv": torch.Size((4, 2, 5, 3, 3)), "linear": torch.Size((4, 2))}
    inflated = inflate_weights(weights, shapes)
    assert inflated["conv"].shape == (4, 2, 5, 3, 3)
    assert inflated["linear"] is weights["linear"] and inflated["other"] is KERNEL


def test_unknown_inflation_names_the_nearest():
    with pytest.raises(ValueError, match="inflation: unknown value 'centre'. Did you mean 'center'"):
        inflate_kernel(KERNEL, 3, "centre")


@pytest.mark.parametrize("new_grid", [(7, 7), (3, 9), (14, 5), (1, 1)])
def test_resizing_in_2d_equals_timms(new_grid):
    positions = torch.randn(1 + 49, 12)
    expected = resample_abs_pos_embed(positions[None], new_grid, (7, 7), num_prefix_tokens=1)[0]
    assert torch.allclose(resize_positions(positions, (7, 7), new_grid), expected, atol=1e-6)


def test_resizing_in_3d_keeps_a_linear_course_linear():
    course = torch.linspace(0, 1, 8)
    positions = course.view(8, 1, 1).expand(8, 4, 4).reshape(-1, 1)
    resized = resize_positions(positions, (8, 4, 4), (4, 2, 2)).view(4, 2, 2)
    assert torch.allclose(resized, course.view(4, 2).mean(1).view(4, 1, 1).expand(4, 2, 2))


def test_prefix_tokens_are_not_interpolated():
    positions = torch.randn(2 + 27, 5)
    assert torch.equal(resize_positions(positions, (3, 3, 3), (5, 1, 2))[:2], positions[:2])


def test_half_precision_stays_half():
    positions = torch.randn(1 + 16, 6)
    resized = resize_positions(positions.bfloat16(), (4, 4), (6, 3))
    assert resized.dtype == torch.bfloat16
    assert torch.allclose(resized.float(), resize_positions(positions, (4, 4), (6, 3)), atol=0.05)


def test_positions_of_images_are_the_same_in_every_slice_of_a_volume():
    positions = torch.randn(1 + 16, 6)
    fitted = fit_positions(positions, 1, trained_dims=2, grid=(3, 2, 5))
    planar = resize_positions(positions, (4, 4), (2, 5))
    assert torch.equal(fitted[:1], positions[:1])
    for one_slice in fitted[1:].view(3, 10, 6):
        assert torch.equal(one_slice, planar[1:])


def test_positions_of_a_cube_fit_another_volume():
    positions = torch.randn(27, 6)
    fitted = fit_positions(positions, 0, trained_dims=3, grid=(2, 3, 4))
    assert torch.equal(fitted, resize_positions(positions, (3, 3, 3), (2, 3, 4)))


@pytest.mark.parametrize(
    ("rows", "trained_dims", "grid"), [(1 + 12, 2, (4, 4)), (1 + 9, 3, (2, 2, 2)), (1 + 8, 3, (3, 3))]
)
def test_positions_of_an_unknown_grid_are_rejected(rows, trained_dims, grid):
    with pytest.raises(ValueError, match=f"position embeddings: expected a square or cubic grid.*got {rows} rows"):
        fit_positions(torch.zeros(rows, 2), 1, trained_dims, grid)
