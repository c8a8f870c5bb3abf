import numpy as np
import pytest
import torch
from scipy import ndimage, special

from pipeline.data.augmentation.intensity import (
    bias_field,
    blur,
    blur_axis,
    gamma,
    ghosting,
    legendre,
    lower_resolution,
    motion,
    noise,
    scale_and_shift,
)

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


VOLUME_OF_DEGRADATIONS = torch.from_numpy(np.random.default_rng(0).normal(0, 2, (24, 25, 26)).astype(np.float32))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_blur_along_an_axis_is_scipys(axis):
    ours = blur_axis(VOLUME_OF_DEGRADATIONS[None, None], axis, 1.1)[0, 0].numpy()
    np.testing.assert_allclose(
        ours, ndimage.gaussian_filter1d(VOLUME_OF_DEGRADATIONS.numpy(), 1.1, axis, mode="nearest", radius=4), atol=1e-5
    )


def test_blur_has_the_same_width_in_millimeters_along_each_axis():
    spot = torch.zeros(25, 25, 25)
    spot[12, 12, 12] = 1
    blurred = blur(spot, np.random.default_rng(3), spacing_mm=(1.0, 1.0, 4.0)).numpy()
    weights = [blurred.sum(axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]
    spread = [np.average((np.arange(25) - 12) ** 2, weights=weight) for weight in weights]
    assert spread[0] == pytest.approx(spread[1]) and spread[0] > 0.1 and spread[2] < 0.05


def test_noise_is_white_unbiased_and_bounded():
    for seed in range(10):
        added = (noise(VOLUME_OF_DEGRADATIONS, np.random.default_rng(seed)) - VOLUME_OF_DEGRADATIONS).numpy()
        assert added.std() <= 0.15 * 2.1 and abs(added.mean()) < 0.01
        assert abs(np.corrcoef(added[:-1].ravel(), added[1:].ravel())[0, 1]) < 0.05


def test_lower_resolution_loses_detail_along_one_axis_alone():
    for seed in range(10):
        coarse = lower_resolution(VOLUME_OF_DEGRADATIONS, np.random.default_rng(seed))
        kept = [
            float(coarse.diff(dim=axis).square().mean() / VOLUME_OF_DEGRADATIONS.diff(dim=axis).square().mean())
            for axis in range(3)
        ]
        own = [float(coarse.square().mean() / VOLUME_OF_DEGRADATIONS.square().mean())] * 3
        ratio = np.array(kept) / own
        # Along the other two neighbors stay independent: differences shrink only as the values themselves do.
        assert sorted(ratio)[1] == pytest.approx(1, abs=0.1)
        assert coarse.mean() == pytest.approx(float(VOLUME_OF_DEGRADATIONS.mean()), abs=0.02)


def test_lower_resolution_leaves_what_has_no_detail():
    constant = torch.full((9, 10, 11), 4.0)
    torch.testing.assert_close(lower_resolution(constant, np.random.default_rng(0)), constant)


VOLUME_OF_MR_ARTIFACTS = torch.from_numpy(np.random.default_rng(0).gamma(2, 50, (20, 24, 22)).astype(np.float32))


def test_the_polynomials_are_legendres():
    expected = [special.eval_legendre(order, np.linspace(-1, 1, 17)) for order in range(3)]
    np.testing.assert_allclose(legendre(17).numpy(), expected, atol=1e-6)


def test_a_bias_field_is_smooth_and_positive_and_leaves_no_signal_as_it_is():
    for seed in range(10):
        volume = VOLUME_OF_MR_ARTIFACTS.clone()
        volume[0, 0, 0] = volume.min() - 10
        biased = bias_field(volume, np.random.default_rng(seed))
        low = volume.min()
        assert biased[0, 0, 0] == low
        field = ((biased - low) / (volume - low)).numpy()
        log_field = np.log(field.ravel()[1:])
        assert log_field.std() <= 0.31
        inner = np.log(field[1:, 1:, 1:])
        assert max(np.abs(np.diff(inner, n=4, axis=axis)).max() for axis in range(3)) < 1e-3


def test_ghosting_weakens_every_nth_line_along_one_axis_and_keeps_the_mean():
    for seed in range(10):
        change = (ghosting(VOLUME_OF_MR_ARTIFACTS, np.random.default_rng(seed)) - VOLUME_OF_MR_ARTIFACTS).numpy()
        assert abs(change.mean()) < 1e-3
        touched = []
        for axis in range(3):
            strength = np.abs(np.fft.rfft(change, axis=axis)).sum(axis=tuple({0, 1, 2} - {axis}))
            touched.append(np.flatnonzero(strength > 1e-3 * strength.max()))
        lines = min(touched, key=len)
        assert lines[0] in range(2, 7) and (lines % lines[0] == 0).all()


def test_motion_mixes_two_positions_and_keeps_the_mean_and_the_slow_lines():
    for seed in range(10):
        moved = motion(VOLUME_OF_MR_ARTIFACTS, np.random.default_rng(seed))
        assert float(moved.mean()) == pytest.approx(float(VOLUME_OF_MR_ARTIFACTS.mean()), rel=1e-4)
        assert not torch.allclose(moved, VOLUME_OF_MR_ARTIFACTS)
        before, after = torch.fft.fftn(VOLUME_OF_MR_ARTIFACTS), torch.fft.fftn(moved)
        assert torch.allclose(before[:2, :2, :2], after[:2, :2, :2], rtol=1e-3, atol=1.0)


def test_a_patient_without_structure_moves_unseen():
    constant = torch.full((8, 9, 10), 5.0)
    torch.testing.assert_close(motion(constant, np.random.default_rng(0)), constant)
    torch.testing.assert_close(ghosting(constant, np.random.default_rng(0)), constant)
