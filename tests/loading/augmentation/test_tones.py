import numpy as np
import torch

from pipeline.loading.augmentation.tones import gamma, scale_and_shift

VOLUME = torch.from_numpy(np.random.default_rng(0).normal(3, 2, (10, 11, 12)).astype(np.float32))


def test_gamma_keeps_darkest_and_brightest_and_the_order_between():
    order = VOLUME.flatten().argsort()
    bent = [gamma(VOLUME, np.random.default_rng(seed)) for seed in range(20)]
    for volume in bent:
        assert volume.flatten()[order].diff().min() >= -1e-5
        torch.testing.assert_close(torch.stack(volume.aminmax()), torch.stack(VOLUME.aminmax()))
    means = [float(volume.mean() - VOLUME.mean()) for volume in bent]
    assert min(means) < -0.1 and max(means) > 0.1


def test_gamma_leaves_a_constant_volume():
    constant = torch.full((3, 3, 3), 2.0)
    assert torch.equal(gamma(constant, np.random.default_rng(0)), constant)


def test_contrast_and_brightness_change_alike_everywhere_and_within_bounds():
    for seed in range(20):
        changed = scale_and_shift(VOLUME, np.random.default_rng(seed)).numpy().ravel()
        slope, offset = np.polyfit(VOLUME.numpy().ravel(), changed, 1)
        np.testing.assert_allclose(changed, slope * VOLUME.numpy().ravel() + offset, atol=1e-4)
        assert 0.85 <= slope <= 1.15 and abs(offset) <= 0.15 * 2.2


def test_a_change_does_not_depend_on_the_unit():
    ours, millis = (scale_and_shift(VOLUME * unit, np.random.default_rng(1)) / unit for unit in (1, 1000))
    torch.testing.assert_close(ours, millis)
