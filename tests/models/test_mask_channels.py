"""Channels of a mask against distances that are counted voxel by voxel."""

import numpy as np
import pytest
import torch

from pipeline.models import build_model
from pipeline.models.mask_channels import REACH, SCALE, MaskChannels


@pytest.fixture
def mask() -> torch.Tensor:
    generator = np.random.default_rng(0)
    mask = np.zeros((1, 1, 9, 10, 11), np.float32)
    mask[..., 3:7, 2:8, 3:9] = generator.random((4, 6, 6)) < 0.8
    return torch.from_numpy(mask)


def test_distance_is_to_the_nearest_voxel_of_the_other_kind(mask):
    (distance,) = MaskChannels(["distance"], 1)(mask)[0].numpy()
    inside = mask[0, 0].numpy() >= 0.5
    for position in np.ndindex(inside.shape):
        others = np.argwhere(inside != inside[position])
        nearest = np.linalg.norm(others - position, axis=1).min()
        expected = nearest if inside[position] else -min(nearest, REACH)
        assert distance[position] == pytest.approx(expected / SCALE, abs=1e-5)


def test_thickness_of_a_plate_is_half_of_it_everywhere():
    plate = torch.zeros(1, 1, 20, 16, 16)
    plate[..., 5:12, :, :] = 1
    (thickness,) = MaskChannels(["thickness"], 1)(plate)[0]
    assert torch.allclose(thickness[5:12, 8, 8], torch.full((7,), 4 / SCALE))
    assert thickness[:5].abs().max() == 0


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_empty_and_a_full_mask_have_finite_channels(value):
    made = MaskChannels(["mask", "distance", "thickness"], 1)(torch.full((2, 1, 6, 6, 6), value))
    assert made.shape == (2, 3, 6, 6, 6) and made.isfinite().all()
    assert (made[:, 0] == value).all()


def test_a_network_reads_them_in_place_of_the_mask_and_learns(mask):
    options = {"spatial_dims": 3, "depths": [1, 1, 1, 1], "dims": [4, 4, 8, 8]}
    network = build_model("poolformer_t6", mask_channels=["mask", "distance"], **options).eval()
    plain = build_model("poolformer_t6", in_channels=2, **options).eval()
    plain.load_state_dict({name.removeprefix("network."): value for name, value in network.state_dict().items()})
    channels = MaskChannels(["mask", "distance"], 1)(mask)
    assert torch.equal(network(mask), plain(channels))
    assert torch.equal(network.forward_stages(mask).stages[2], plain.forward_stages(channels).stages[2])
    network.train()(mask).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_training_with_them_is_planned_without_data():
    with torch.device("meta"):
        network = build_model("resnet18", spatial_dims=3, mask_channels=["distance", "thickness"])
    assert network(torch.empty(2, 1, 32, 32, 32, device="meta")).shape == (2, 2)


def test_an_unknown_channel_suggests_the_nearest():
    with pytest.raises(ValueError, match="'distanc'.*distance"):
        build_model("poolformer_t6", spatial_dims=3, mask_channels=["distanc"])
