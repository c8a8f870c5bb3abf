import numpy as np
import pytest
import torch
from scipy import special

from pipeline.loading.augmentation.mr_artifacts import bias_field, ghosting, legendre, motion

VOLUME = torch.from_numpy(np.random.default_rng(0).gamma(2, 50, (20, 24, 22)).astype(np.float32))


def test_the_polynomials_are_legendres():
    expected = [special.eval_legendre(order, np.linspace(-1, 1, 17)) for order in range(3)]
    np.testing.assert_allclose(legendre(17).numpy(), expected, atol=1e-6)


def test_a_bias_field_is_smooth_and_positive_and_leaves_no_signal_as_it_is():
    for seed in range(10):
        volume = VOLUME.clone()
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
        change = (ghosting(VOLUME, np.random.default_rng(seed)) - VOLUME).numpy()
        assert abs(change.mean()) < 1e-3
        touched = []
        for axis in range(3):
            strength = np.abs(np.fft.rfft(change, axis=axis)).sum(axis=tuple({0, 1, 2} - {axis}))
            touched.append(np.flatnonzero(strength > 1e-3 * strength.max()))
        lines = min(touched, key=len)
        assert lines[0] in range(2, 7) and (lines % lines[0] == 0).all()


def test_motion_mixes_two_positions_and_keeps_the_mean_and_the_slow_lines():
    for seed in range(10):
        moved = motion(VOLUME, np.random.default_rng(seed))
        assert float(moved.mean()) == pytest.approx(float(VOLUME.mean()), rel=1e-4)
        assert not torch.allclose(moved, VOLUME)
        before, after = torch.fft.fftn(VOLUME), torch.fft.fftn(moved)
        assert torch.allclose(before[:2, :2, :2], after[:2, :2, :2], rtol=1e-3, atol=1.0)


def test_a_patient_without_structure_moves_unseen():
    constant = torch.full((8, 9, 10), 5.0)
    torch.testing.assert_close(motion(constant, np.random.default_rng(0)), constant)
    torch.testing.assert_close(ghosting(constant, np.random.default_rng(0)), constant)
