"""Stored voxel values: replace what is not finite, check their range, scale them to their unit, hash them."""

import hashlib
import math

import numpy as np

from pipeline.imaging.io.nifti import Header
from pipeline.imaging.problems import Findings

MAX_FLOAT32 = float(np.finfo(np.float32).max)
MAX_EXACT_INTEGER = 1 << 24
"""Integers up to this are exact in float32."""
SLAB = 1 << 20
"""Voxels converted at a time."""


def fill_nonfinite(stored: np.ndarray, header: Header, fill: float | None, findings: Findings) -> None:
    """Replace NaN and infinite voxels, in place, by the value that scales to `fill`; without a fill reject them."""
    # NaN propagates through a sum of the extremes, so that a sound scan costs no boolean array.
    if stored.dtype.kind != "f" or math.isfinite(sum(extremes(stored))):
        return
    count = 0
    for slab in slabs(stored):
        bad = ~np.isfinite(slab)
        count += int(bad.sum())
        if fill is not None:
            slab[bad] = (fill - header.inter) / header.slope
    if count:
        found = f"{count} of {stored.size} voxels"
        findings.warn("NII-FILLED", found) if fill is not None else findings.reject("NII-NONFINITE", found)


def extremes(stored: np.ndarray) -> tuple[float, float]:
    """Smallest and largest stored value; NaN if any value is NaN."""
    with np.errstate(invalid="ignore"):
        return float(stored.min()), float(stored.max())


def check_overflow(stored: np.ndarray, header: Header, findings: Findings) -> None:
    """Reject values that are infinite in float32."""
    if stored.dtype.itemsize < 4 and not header.is_scaled:
        return
    values = [header.slope * value + header.inter for value in extremes(stored)]
    if not max(map(abs, values)) <= MAX_FLOAT32:
        findings.reject("NII-OVERFLOW", f"{min(values):.4g} to {max(values):.4g}")


def warn_about_values(stored: np.ndarray, findings: Findings) -> None:
    """Warn if all values are equal, or integers too large for float32."""
    low, high = extremes(stored)
    if low == high:
        findings.warn("NII-CONSTANT", f"{low:g} everywhere")
    if stored.dtype.kind in "iu" and max(abs(low), abs(high)) > MAX_EXACT_INTEGER:
        findings.warn("NII-PRECISION", f"{low:.0f} to {high:.0f}")


def scale(stored: np.ndarray, header: Header) -> np.ndarray:
    """Values in the unit of the file: float32 if the file scales, else as stored."""
    if not header.is_scaled:
        return stored
    values = stored.astype(np.float32)
    # 64-bit values are multiplied before rounding: a large intercept may cancel their leading digits.
    precise = stored if stored.dtype.itemsize > 4 else values
    np.multiply(precise, header.slope, out=values, casting="same_kind")
    values += np.float32(header.inter)
    return values


def hash_values(stored: np.ndarray, header: Header) -> str:
    """SHA-256 of shape and float32 values: equal for equal voxels, whatever their dtype or compression."""
    digest = hashlib.sha256(repr(header.shape).encode())
    for slab in slabs(stored):
        # Adding zero makes -0.0 and 0.0 equal.
        digest.update(scale(slab, header).astype("<f4") + np.float32(0))
    return digest.hexdigest()


def slabs(stored: np.ndarray) -> list[np.ndarray]:
    """Views of at most `SLAB` voxels each."""
    return [stored[start : start + SLAB] for start in range(0, stored.size, SLAB)]
