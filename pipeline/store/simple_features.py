"""A scan in a few numbers: a blurred, tiny copy, what its histogram says, its file's size. No label takes part."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.core.columns import PATH, SCAN_ID
from pipeline.store.store import Store

SIZE = 8
"""Voxels an axis of the tiny copy."""
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)

Volume = NDArray[np.float32]


def summarize_scans(store: Store, scan_ids: Iterable[str]) -> dict[str, pd.DataFrame]:
    """Two simple looks at every scan: its tiny copy and its intensities, a row a scan each."""
    names = list(scan_ids)
    found = [(shrink(volume).ravel(), summarize(volume)) for volume in (store.read(name)[0] for name in names)]
    tiny, summaries = (np.stack(part) for part in zip(*found, strict=True))
    statistics = ["mean", "deviation", *(f"percentile_{share}" for share in PERCENTILES)]
    columns = [f"{name}_{channel}" for channel in range(summaries.shape[1] // len(statistics)) for name in statistics]
    return {
        "blurred volume": pd.DataFrame(tiny, index=names),
        "intensity summaries": pd.DataFrame(summaries, index=names, columns=columns),
    }


def measure_files(raw: Path, cohort: pd.DataFrame) -> pd.Series:
    """Bytes of each scan of cohort.csv, which is a file or a folder of slices."""
    return pd.Series({scan: bytes_of(raw / path) for scan, path in zip(cohort[SCAN_ID], cohort[PATH], strict=True)})


def bytes_of(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def shrink(volume: Volume) -> NDArray[np.float64]:
    """Means of up to 8 blocks along D, H and W of (C, D, H, W), as even as they can be."""
    for axis, size in enumerate(volume.shape[1:], start=1):
        starts = np.unique(np.arange(SIZE) * size // SIZE)
        counts = np.diff(np.append(starts, size)).reshape([-1 if other == axis else 1 for other in range(4)])
        volume = np.add.reduceat(volume, starts, axis=axis, dtype=float) / counts
    return volume


def summarize(volume: Volume) -> NDArray[np.float64]:
    """Mean, deviation and percentiles of each channel's voxels, which place does not change: (C * 9,)."""
    flat = volume.reshape(len(volume), -1)
    percentiles = np.percentile(flat, PERCENTILES, axis=1)
    return np.concatenate([flat.mean(1, dtype=float)[None], flat.std(1, dtype=float)[None], percentiles]).T.ravel()
