"""Stage grid: features of one stage that know in which part of the volume they were seen."""

import numpy as np
import pytest
import torch
from torch.nn import functional

VOLUME = torch.randn(2, 1, 6, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("pooling", ["mean", "max"])
@torch.no_grad()
def test_each_cell_pools_the_encoder_s_own_map_over_its_octant(build_tiny, pooling):
    volume = {"mode": "stage_grid", "stage": 1, "grid": 2, "pooling": pooling, "chunk_slices": 4}
    network = build_tiny("resnet18", volume=volume)
    cells = network.forward_features(VOLUME)
    octant = network.encoder.forward_stages(VOLUME[0].movedim(1, 0)[3:]).stages[1][:, :, :2, 2:]
    expected = octant.mean((0, 2, 3)) if pooling == "mean" else octant.amax((0, 2, 3))
    torch.testing.assert_close(cells[0, :, 1, 0, 1], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_it_tells_front_from_back_where_a_mean_over_slices_cannot(build_tiny):
    turned = VOLUME.flip(2)
    plain = build_tiny("resnet18", volume="slicewise")
    torch.testing.assert_close(plain(turned), plain(VOLUME), atol=1e-5, rtol=1e-5)
    grid = build_tiny("resnet18", volume="stage_grid")
    assert not torch.allclose(grid(turned), grid(VOLUME), atol=1e-3)


@pytest.mark.parametrize(("axis", "turned"), [(1, (0, 1, 3, 2, 4)), (2, (0, 1, 4, 2, 3))])
@torch.no_grad()
def test_slices_along_another_axis_are_those_of_the_turned_volume(build_tiny, axis, turned):
    network = build_tiny("resnet18", volume={"mode": "stage_grid", "axis": axis})
    along_depth = build_tiny("resnet18", volume="stage_grid")
    along_depth.load_state_dict(network.state_dict())
    volume = torch.randn(1, 1, 40, 32, 48, generator=torch.Generator().manual_seed(0))
    # Cells stay where they are in the volume, whatever the slices.
    expected = along_depth.forward_features(volume.permute(turned))
    torch.testing.assert_close(network.forward_features(volume), expected.permute(*np.argsort(turned).tolist()))


def test_the_gradient_ends_at_the_stage_that_is_used(build_tiny):
    network = build_tiny("resnet18", volume={"mode": "stage_grid", "stage": 1})
    stages, slopes = network.stage_gradients(VOLUME, class_index=1)
    assert [bool(slope.abs().sum() > 0) for slope in slopes] == [True, True, False, False]
    assert [slope.shape for slope in slopes] == [stage.shape for stage in stages]
    used = functional.adaptive_avg_pool3d(stages[1], 2).flatten(1)
    torch.testing.assert_close(network.head(used), network(VOLUME), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"stage": 4}, "'stage' must be 0"),
        ({"grid": 0}, "'grid' must be"),
        ({"axis": 3}, "'axis' must be 0"),
        ({"pooling": "meen"}, "unknown cell pooling 'meen'. Did you mean 'mean'"),
        ({"pooling": {"name": "max", "output_size": 2}}, "'max' has no option 'output_size'"),
    ],
)
def test_a_stage_grid_or_pooling_that_cannot_be_is_rejected(build_tiny, option, message):
    with pytest.raises(ValueError, match=message):
        build_tiny("resnet18", volume={"mode": "stage_grid", **option})
