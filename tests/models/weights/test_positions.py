"""Position embeddings at other sizes, against timm's resampling."""

import pytest
import torch
from timm.layers import resample_abs_pos_embed

from pipeline.models.weights.positions import fit_positions, resize_positions


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


def test_prefix_tokens_are_no_places():
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
def test_positions_of_an_unknown_grid_are_refused(rows, trained_dims, grid):
    with pytest.raises(ValueError, match=f"position embeddings: expected a square or cubic grid.*got {rows} rows"):
        fit_positions(torch.zeros(rows, 2), 1, trained_dims, grid)
