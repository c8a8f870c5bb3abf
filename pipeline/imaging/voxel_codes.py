"""Voxels as 16-bit codes times a power of two.

Decoding is exact, encoding twice changes nothing, and masks and integers below 32,768 stay themselves; the step is
below 1/16,000 of the largest value.
"""

import math

import numpy as np
from numpy.typing import NDArray

Volume = NDArray[np.float32]
Codes = NDArray[np.int16]
LARGEST_CODE = 32767


def encode(array: Volume) -> tuple[Codes, float]:
    """Codes and slope whose product is the array, to half a step."""
    largest = float(max(array.max(initial=0), -array.min(initial=0)))
    if not math.isfinite(largest):
        raise ValueError(f"prepared voxels must be finite, got {largest}; check the scan and the plan's intensity.")
    slope = 2.0 ** math.ceil(math.log2(largest / LARGEST_CODE)) if largest else 1.0
    steps = array / np.float32(slope)
    return np.rint(steps, out=steps).astype("<i2"), slope


def decode(codes: Codes, slope: float, out: Volume | None = None) -> Volume:
    """Codes times slope, which is exact."""
    return np.multiply(codes, np.float32(slope), out=out, dtype=np.float32)
