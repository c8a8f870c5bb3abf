"""What only MR shows: uneven coils, ghosts, a patient who moved. Volumes are (D, H, W)."""

import numpy as np
import torch
from torch import Tensor

BIAS_ORDER = 3
MAX_BIAS = 0.3
"""Standard deviation of the log of the coil's sensitivity."""
GHOSTS = (2, 6)
"""Copies along the phase axis."""
MAX_GHOST = 0.4
MAX_MOTION = 0.04
"""Share of the axis that the patient moves."""


def bias_field(volume: Tensor, rng: np.random.Generator) -> Tensor:
    """Multiply the signal by a smooth positive field; the darkest value counts as no signal."""
    bases = [legendre(size) for size in volume.shape]
    weights = torch.from_numpy(rng.normal(size=(BIAS_ORDER,) * 3).astype(np.float32))
    log_field = torch.einsum("abc,ad,bh,cw->dhw", weights, *bases)
    log_field = (log_field - log_field.mean()) * (rng.uniform(0, MAX_BIAS) / log_field.std().clamp_min(1e-6))
    low = volume.min()
    return (volume - low) * log_field.exp() + low


def legendre(size: int) -> Tensor:
    """Legendre polynomials of order 0, 1, … on an axis of `size` voxels: (BIAS_ORDER, size)."""
    return torch.from_numpy(
        np.polynomial.legendre.legvander(np.linspace(-1, 1, size), BIAS_ORDER - 1).T.astype(np.float32)
    )


def ghosting(volume: Tensor, rng: np.random.Generator) -> Tensor:
    """Faint copies along one axis: every n-th line of k-space is weaker."""
    axis = int(rng.integers(3))
    spectrum = torch.fft.rfft(volume, dim=axis)
    lines = spectrum.movedim(axis, 0)
    # Line 0 holds the mean: weakening it would only darken the scan.
    every = int(rng.integers(*GHOSTS, endpoint=True))
    lines[every::every] *= 1 - rng.uniform(0, MAX_GHOST)
    return torch.fft.irfft(spectrum, n=volume.shape[axis], dim=axis)


def motion(volume: Tensor, rng: np.random.Generator) -> Tensor:
    """Outer lines of k-space taken after the patient had shifted in the plane of two axes."""
    phase_axis, other_axis = (int(axis) for axis in rng.permutation(3)[:2])
    frequencies = torch.fft.fftfreq(volume.shape[phase_axis])
    shift = rng.uniform(-MAX_MOTION, MAX_MOTION, 2) * [volume.shape[phase_axis], volume.shape[other_axis]]
    ramp = shift[0] * along(frequencies, phase_axis) + shift[1] * along(
        torch.fft.fftfreq(volume.shape[other_axis]), other_axis
    )
    moved_from = rng.uniform(0.1, 0.4)
    has_moved = along(frequencies >= moved_from, phase_axis)
    spectrum = torch.fft.fft2(volume, dim=(phase_axis, other_axis))
    spectrum *= torch.where(has_moved, torch.exp(-2j * torch.pi * ramp), 1)
    return torch.fft.ifft2(spectrum, dim=(phase_axis, other_axis)).real


def along(values: Tensor, axis: int) -> Tensor:
    """A vector laid along one of three axes."""
    return values.view([-1 if other == axis else 1 for other in range(3)])
