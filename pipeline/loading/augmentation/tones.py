"""Changes of brightness and contrast. Volumes are (D, H, W), in any range: steps are measured in its own spread."""

import numpy as np
from torch import Tensor

MAX_SCALE = 0.15
MAX_SHIFT = 0.15
"""Standard deviations."""
MAX_LOG_GAMMA = 0.35


def scale_and_shift(volume: Tensor, rng: np.random.Generator) -> Tensor:
    """Contrast times 0.85 to 1.15 and brightness up or down a little."""
    scale = 1 + rng.uniform(-MAX_SCALE, MAX_SCALE)
    shift = rng.uniform(-MAX_SHIFT, MAX_SHIFT) * float(volume.std())
    return volume * scale + shift


def gamma(volume: Tensor, rng: np.random.Generator) -> Tensor:
    """Bend the tone curve between the volume's darkest and brightest value, which stay."""
    exponent = float(np.exp(rng.uniform(-MAX_LOG_GAMMA, MAX_LOG_GAMMA)))
    low, high = volume.aminmax()
    width = float(high - low)
    if width == 0:
        return volume
    return ((volume - low) / width).pow_(exponent).mul_(width).add_(low)
