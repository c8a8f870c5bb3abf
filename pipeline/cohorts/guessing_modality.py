"""The modality of scans whose values leave no doubt: a mask's, or air in Hounsfield units."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pipeline.imaging.io.read import read_scan

MOST_READ = 5
AIR_HU = -900
"""Voxels below this are air in CT; no other modality goes there."""
MASK_VALUES = ((0, 1), (0, 255))


def guess_modality(paths: Iterable[Path]) -> str | None:
    """What the first scans all are, mask or CT; None where they leave a doubt or cannot be read."""
    chosen = [path for path in paths if path.exists()][:MOST_READ]
    try:
        guesses = {modality_of(read_scan(path).array) for path in chosen}
    except (ValueError, OSError):
        # Ingest says what is wrong with a scan; here it only says nothing.
        return None
    return guesses.pop() if len(guesses) == 1 else None


def modality_of(array: np.ndarray) -> str | None:
    low, high = array.min(), array.max()
    if (low, high) in MASK_VALUES and np.isin(array, (low, high)).all():
        return "mask"
    return "CT" if low < AIR_HU else None
