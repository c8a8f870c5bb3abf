"""Voxel values as stored: rules on their extremes, so that a check needs no second copy of the scan."""

import hashlib
import math

import numpy as np

from pipeline.scans.checking.codes import Findings
from pipeline.scans.checking.header import Header

LARGEST = float(np.finfo(np.float32).max)
LARGEST_EXACT = 1 << 24
"""Integers up to here are exact in float32."""
SLAB = 1 << 20
"""Voxels converted at a time."""


def fill_nonfinite(stored: np.ndarray, header: Header, fill: float | None, findings: Findings) -> None:
    """Put what scales to `fill` where NaN or infinity stands, in place; without a fill they are refused."""
    # NaN spreads through a sum of the extremes, so that a sound scan costs no array of booleans.
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
    """Smallest and largest stored value; NaN if there is one."""
    with np.errstate(invalid="ignore"):
        return float(stored.min()), float(stored.max())


def refuse_overflow(stored: np.ndarray, header: Header, findings: Findings) -> None:
    """Values that float32 turns into infinity."""
    if stored.dtype.itemsize < 4 and not header.is_scaled:
        return
    values = [header.slope * value + header.inter for value in extremes(stored)]
    if not max(map(abs, values)) <= LARGEST:
        findings.reject("NII-OVERFLOW", f"{min(values):.4g} to {max(values):.4g}")


def warn_about_values(stored: np.ndarray, findings: Findings) -> None:
    low, high = extremes(stored)
    if low == high:
        findings.warn("NII-CONSTANT", f"{low:g} everywhere")
    if stored.dtype.kind in "iu" and max(abs(low), abs(high)) > LARGEST_EXACT:
        findings.warn("NII-PRECISION", f"{low:.0f} to {high:.0f}")


def scale(stored: np.ndarray, header: Header) -> np.ndarray:
    """Values in the unit the file means: float32 where it scales, else as stored."""
    if not header.is_scaled:
        return stored
    values = stored.astype(np.float32)
    # A 64-bit value must not lose its last digits before a large intercept takes its first.
    precise = stored if stored.dtype.itemsize > 4 else values
    np.multiply(precise, header.slope, out=values, casting="same_kind")
    values += np.float32(header.inter)
    return values


def hash_values(stored: np.ndarray, header: Header) -> str:
    """SHA-256 of shape and float32 values: the same for the same voxels, whatever their dtype or compression."""
    digest = hashlib.sha256(repr(header.shape).encode())
    for slab in slabs(stored):
        # Adding zero makes -0.0 and 0.0 the same.
        digest.update(scale(slab, header).astype("<f4") + np.float32(0))
    return digest.hexdigest()


def slabs(stored: np.ndarray) -> list[np.ndarray]:
    """Views of at most `SLAB` voxels each."""
    return [stored[start : start + SLAB] for start in range(0, stored.size, SLAB)]
