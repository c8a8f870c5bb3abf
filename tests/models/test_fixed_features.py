"""Random convolutions against scipy's correlation, a coarse volume against plain means."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from pipeline.models import build_model
from pipeline.models.fixed_features import DILATIONS, LEVELS


@pytest.fixture
def network():
    return build_model("random_conv3d", num_kernels=8, stride=1, freeze=True)


@pytest.mark.parametrize("group", range(4))
def test_features_summarize_the_responses_of_dilated_kernels(network, group):
    volume = torch.randn(1, 1, 12, 14, 16, generator=torch.Generator().manual_seed(0))
    dilation = DILATIONS[group]
    kernels = network.get_buffer(f"kernels{dilation}")
    features = network.measure(volume)[group][0].reshape(len(LEVELS) + 4, len(kernels))
    for index, kernel in enumerate(kernels):
        wide = np.zeros((1 + 4 * dilation,) * 3)
        wide[::dilation, ::dilation, ::dilation] = kernel[0]
        expected = ndimage.correlate(volume[0, 0].numpy().astype(float), wide, mode="constant")
        shares = [(expected > level).mean() for level in LEVELS]
        moments = [expected.mean(), expected.std(), expected.max(), expected.min()]
        np.testing.assert_allclose(features[:, index], [*shares, *moments], atol=1e-4)


def test_on_a_grid_a_feature_is_the_mean_positive_response_in_a_cell():
    network = build_model("random_conv3d", num_kernels=8, stride=1, grid=2, freeze=True)
    volume = torch.randn(1, 1, 8, 10, 12, generator=torch.Generator().manual_seed(0))
    response = ndimage.correlate(volume[0, 0].numpy().astype(float), network.kernels1[1, 0].numpy(), mode="constant")
    expected = response.clip(min=0).reshape(2, 4, 2, 5, 2, 6).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(network.measure(volume)[0][0].reshape(2, 2, 2, 2)[1], expected, atol=1e-5)


def test_a_coarse_volume_is_the_mean_and_spread_of_each_cell():
    network = build_model("coarse_volume", in_channels=2, freeze=True)
    volume = 1000 + torch.randn(1, 2, 16, 24, 32, generator=torch.Generator().manual_seed(0))
    groups = network.measure(volume)
    for (mean, spread), grid in zip([groups[:2], groups[2:]], (4, 8), strict=True):
        sides = [side for axis in (16, 24, 32) for side in (grid, axis // grid)]
        cells = volume[0].double().numpy().reshape(2, *sides)
        np.testing.assert_allclose(mean[0], cells.mean(axis=(2, 4, 6)).ravel(), rtol=1e-5)
        np.testing.assert_allclose(spread[0], cells.std(axis=(2, 4, 6)).ravel(), atol=1e-3)
    assert network.forward_features(volume).shape == (1, network.num_features)


@pytest.mark.parametrize("dilation", DILATIONS)
def test_kernels_answer_to_change_and_not_to_brightness(network, dilation):
    kernels = network.get_buffer(f"kernels{dilation}")
    assert kernels.sum(dim=(1, 2, 3, 4)).abs().max() < 1e-5
    assert (kernels.square().sum(dim=(1, 2, 3, 4)) - 1).abs().max() < 1e-5


def test_the_seed_draws_the_kernels_and_a_checkpoint_carries_them():
    one, same, other = (
        build_model("random_conv3d", num_kernels=8, kernel_seed=seed, freeze=True) for seed in (1, 1, 2)
    )
    assert torch.equal(one.kernels1, same.kernels1) and not torch.equal(one.kernels1, other.kernels1)
    other.load_state_dict(one.state_dict())
    volume = torch.randn(2, 1, 9, 10, 11)
    assert torch.equal(one(volume), other(volume))


@pytest.mark.parametrize(
    "options", [{"num_kernels": 6}, {"num_kernels": 0}, {"stride": 0}, {"scale": 0.0}, {"grid": 0}]
)
def test_impossible_options_are_rejected(options):
    with pytest.raises(ValueError, match="must be"):
        build_model("random_conv3d", freeze=True, **options)
