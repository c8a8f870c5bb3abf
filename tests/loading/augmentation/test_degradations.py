import numpy as np
import pytest
import torch
from scipy import ndimage

from pipeline.loading.augmentation.degradations import blur, blur_axis, lower_resolution, noise

VOLUME = torch.from_numpy(np.random.default_rng(0).normal(0, 2, (24, 25, 26)).astype(np.float32))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_blur_along_an_axis_is_scipys(axis):
    ours = blur_axis(VOLUME[None, None], axis, 1.1)[0, 0].numpy()
    np.testing.assert_allclose(
        ours, ndimage.gaussian_filter1d(VOLUME.numpy(), 1.1, axis, mode="nearest", radius=4), atol=1e-5
    )


def test_blur_has_the_same_width_in_millimetres_along_each_axis():
    spot = torch.zeros(25, 25, 25)
    spot[12, 12, 12] = 1
    blurred = blur(spot, np.random.default_rng(3), spacing_mm=(1.0, 1.0, 4.0)).numpy()
    weights = [blurred.sum(axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]
    spread = [np.average((np.arange(25) - 12) ** 2, weights=weight) for weight in weights]
    assert spread[0] == pytest.approx(spread[1]) and spread[0] > 0.1 and spread[2] < 0.05


def test_noise_is_white_unbiased_and_bounded():
    for seed in range(10):
        added = (noise(VOLUME, np.random.default_rng(seed)) - VOLUME).numpy()
        assert added.std() <= 0.15 * 2.1 and abs(added.mean()) < 0.01
        assert abs(np.corrcoef(added[:-1].ravel(), added[1:].ravel())[0, 1]) < 0.05


def test_lower_resolution_loses_detail_along_one_axis_alone():
    for seed in range(10):
        coarse = lower_resolution(VOLUME, np.random.default_rng(seed))
        kept = [
            float(coarse.diff(dim=axis).square().mean() / VOLUME.diff(dim=axis).square().mean()) for axis in range(3)
        ]
        own = [float(coarse.square().mean() / VOLUME.square().mean())] * 3
        ratio = np.array(kept) / own
        # Along the other two neighbours stay independent: differences shrink only as the values themselves do.
        assert sorted(ratio)[1] == pytest.approx(1, abs=0.1)
        assert coarse.mean() == pytest.approx(float(VOLUME.mean()), abs=0.02)


def test_lower_resolution_leaves_what_has_no_detail():
    constant = torch.full((9, 10, 11), 4.0)
    torch.testing.assert_close(lower_resolution(constant, np.random.default_rng(0)), constant)
