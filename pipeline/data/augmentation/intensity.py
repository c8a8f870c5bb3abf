"""Intensity augmentations: drawn for each image of a scan. Volumes are (D, H, W), in any range.

What only MR shows (coil sensitivity, ghosts, a patient who moved), what a worse scanner would have given (blur, thicker
slices, noise), and contrast and brightness, whose steps are measured in the spread of the volume itself.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.data.augmentation.registry import INTENSITY, augmentation

BIAS_ORDER = 3
MAX_BIAS = 0.3
"""Standard deviation of the logarithm of the coil sensitivity."""
GHOSTS = (2, 6)
"""Copies along the phase axis."""
MAX_GHOST = 0.4
MAX_MOTION = 0.04
"""Share of the axis that the patient moves."""
BLUR_MM = (0.4, 1.2)
"""Gaussian width, in units of the finest spacing."""
MAX_THICKENING = 2.0
MAX_NOISE = 0.15
"""Of the standard deviation of the volume."""
MAX_SCALE = 0.15
MAX_INTENSITY_SHIFT = 0.15
"""Standard deviations."""
MAX_LOG_GAMMA = 0.35

Spacing = tuple[float, float, float]


@augmentation("bias_field", title="bias field", kind=INTENSITY, prob=0.2, applies=lambda settings: settings.is_mr)
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


@augmentation("ghosting", title="ghosting", kind=INTENSITY, prob=0.1, applies=lambda settings: settings.is_mr)
def ghosting(volume: Tensor, rng: np.random.Generator) -> Tensor:
    """Faint copies along one axis: every n-th line of k-space is weaker."""
    axis = int(rng.integers(3))
    spectrum = torch.fft.rfft(volume, dim=axis)
    lines = spectrum.movedim(axis, 0)
    # Line 0 holds the mean: weakening it would only darken the scan.
    every = int(rng.integers(*GHOSTS, endpoint=True))
    lines[every::every] *= 1 - rng.uniform(0, MAX_GHOST)
    return torch.fft.irfft(spectrum, n=volume.shape[axis], dim=axis)


@augmentation("motion", title="motion", kind=INTENSITY, prob=0.1, applies=lambda settings: settings.is_mr)
def motion(volume: Tensor, rng: np.random.Generator) -> Tensor:
    """Take the outer lines of k-space after the patient moved in the plane of two axes."""
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
    """A vector along one of three axes."""
    return values.view([-1 if other == axis else 1 for other in range(3)])


@augmentation(
    "blur", title="blur", kind=INTENSITY, prob=0.2, options=lambda settings: {"spacing_mm": settings.spacing_mm}
)
def blur(volume: Tensor, rng: np.random.Generator, *, spacing_mm: Spacing) -> Tensor:
    """Gaussian blur of equal width in millimeters along each axis."""
    width_mm = rng.uniform(*BLUR_MM) * min(spacing_mm)
    blurred = volume[None, None]
    for axis, spacing in enumerate(spacing_mm):
        blurred = blur_axis(blurred, axis, width_mm / spacing)
    return blurred[0, 0]


def blur_axis(volume: Tensor, axis: int, sigma: float) -> Tensor:
    """Gaussian of `sigma` voxels along one axis of (1, 1, D, H, W); border voxels are repeated."""
    reach = int(np.ceil(3 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    padding = [0, 0, 0, 0, 0, 0]
    padding[2 * (2 - axis) : 2 * (2 - axis) + 2] = [reach, reach]
    shape = [-1 if other == axis else 1 for other in range(3)]
    padded = functional.pad(volume, padding, mode="replicate")
    return functional.conv3d(padded, (kernel / kernel.sum()).view(1, 1, *shape))


@augmentation("lower_resolution", title="lower resolution", kind=INTENSITY, prob=0.2)
def lower_resolution(volume: Tensor, rng: np.random.Generator) -> Tensor:
    """Slices up to twice as thick along one axis, drawn at random, interpolated back."""
    axis = int(rng.integers(3))
    coarse = list(volume.shape)
    coarse[axis] = max(1, round(coarse[axis] / rng.uniform(1, MAX_THICKENING)))
    thick = functional.interpolate(volume[None, None], coarse, mode="area")
    return functional.interpolate(thick, volume.shape, mode="trilinear", align_corners=False)[0, 0]


@augmentation("noise", title="noise", kind=INTENSITY, prob=0.2)
def noise(volume: Tensor, rng: np.random.Generator) -> Tensor:
    """Gaussian noise in every voxel."""
    strength = rng.uniform(0, MAX_NOISE) * float(volume.std())
    samples = rng.standard_normal(tuple(volume.shape), dtype=np.float32)
    return volume + strength * torch.from_numpy(samples)


@augmentation("scale_and_shift", title="contrast and brightness", kind=INTENSITY, prob=0.5)
def scale_and_shift(volume: Tensor, rng: np.random.Generator) -> Tensor:
    """Contrast times 0.85 to 1.15 and brightness up or down a little."""
    scale = 1 + rng.uniform(-MAX_SCALE, MAX_SCALE)
    shift = rng.uniform(-MAX_INTENSITY_SHIFT, MAX_INTENSITY_SHIFT) * float(volume.std())
    return volume * scale + shift


@augmentation("gamma", title="gamma", kind=INTENSITY, prob=0.3)
def gamma(volume: Tensor, rng: np.random.Generator) -> Tensor:
    """Apply a gamma curve between the darkest and the brightest value of the volume, which stay."""
    exponent = float(np.exp(rng.uniform(-MAX_LOG_GAMMA, MAX_LOG_GAMMA)))
    low, high = volume.aminmax()
    width = float(high - low)
    if width == 0:
        return volume
    return ((volume - low) / width).pow_(exponent).mul_(width).add_(low)
