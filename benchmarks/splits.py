"""Time the search for near-duplicates among 1,000 scans and among 10,000 descriptors, and the split of 100,000 rows.

    python -m benchmarks.splits

Prints a table and, as its last line, one JSON object. Scans are made in memory, 128 x 128 x 96 voxels of int16, so the
time is what the search takes beyond reading; making them, which is not counted, takes about two minutes.
"""

import json
import platform
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from sys import path

import numpy as np
import pandas as pd
from scipy import ndimage

path.insert(0, str(Path(__file__).parents[1]))

from pipeline.config import Columns, Split  # noqa: E402
from pipeline.splits.near_duplicates.descriptors import CELLS, Descriptors, descriptor, to_unit_range  # noqa: E402
from pipeline.splits.near_duplicates.search import candidates, find_near_duplicates  # noqa: E402
from pipeline.splits.near_duplicates.similarity import find_shared_components  # noqa: E402
from pipeline.splits.splitting import split_patients  # noqa: E402

SCANS, SHAPE, BATCH = 1000, (128, 128, 96), 50
ROWS = 100_000
AUDIT_SECONDS, SPLIT_SECONDS = 60, 10
MANY, MANY_SECONDS = 10_000, 600


def volumes() -> Iterator[list[np.ndarray]]:
    """Heads of one shape and of textures of their own, a batch at a time."""
    radius = np.sqrt(
        sum(axis**2 for axis in np.meshgrid(*(np.linspace(-1.2, 1.2, size) for size in SHAPE), indexing="ij"))
    )
    for first in range(0, SCANS, BATCH):
        batch = []
        for number in range(first, first + BATCH):
            coarse = np.random.default_rng(number).normal(size=[size // 8 for size in SHAPE])
            texture = ndimage.zoom(coarse, 8, order=1)
            batch.append(np.where(radius < 1, 600 + 150 * texture, 0).astype(np.int16))
        yield batch


def time_audit() -> tuple[float, float, int, int]:
    """Seconds for descriptors and for all pairs, the number of pairs fitted, and of those found, which should be 0."""
    taken, seconds = [], 0.0
    for batch in volumes():
        start = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            taken += pool.map(lambda volume: descriptor(volume, np.eye(4)), batch)
        seconds += time.perf_counter() - start
    descriptors = Descriptors(*(np.stack(part) for part in zip(*taken, strict=True)))
    groups, partitions = np.arange(SCANS), np.random.default_rng(0).integers(0, 6, SCANS)
    start = time.perf_counter()
    found = find_near_duplicates(descriptors, groups, partitions)
    comparing = time.perf_counter() - start
    fitted = sum(1 for _ in candidates(descriptors, find_shared_components(descriptors), groups, partitions))
    return seconds, comparing, fitted, len(found)


def time_many() -> float:
    """Seconds to compare many descriptors: one shape, eight shared modes of variation, and textures of their own."""
    rng = np.random.default_rng(0)
    axis = np.linspace(-1, 1, CELLS)
    body = 3.0 * (np.sqrt(sum(each**2 for each in np.meshgrid(axis, axis, axis))) < 0.7)
    modes = np.stack([10 * ndimage.gaussian_filter(rng.normal(size=body.shape), 4) for _ in range(8)])
    cells = np.empty((MANY, *body.shape), np.float32)
    for number in range(MANY):
        own = ndimage.gaussian_filter(rng.normal(size=body.shape), 1.5)
        cells[number] = to_unit_range(body + np.tensordot(rng.normal(size=8), modes, 1) + 3 * own)
    descriptors = Descriptors(cells, np.ones((MANY, 3, CELLS), bool))
    start = time.perf_counter()
    find_near_duplicates(descriptors, np.arange(MANY), rng.integers(0, 6, MANY))
    return time.perf_counter() - start


def time_split() -> float:
    """Seconds to divide many patients of one to three scans, in families, by label and site."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(ROWS), rng.integers(1, 4, ROWS))[:ROWS]
    names = pd.Series(patients).map("P{:06d}".format)
    table = pd.DataFrame({"scan_id": [f"S{row:06d}" for row in range(ROWS)], "patient_id": names})
    table["label"] = rng.choice(["healthy", "lesion"], patients.max() + 1, p=[0.7, 0.3])[patients]
    table["site"] = rng.choice(["north", "south", "east"], patients.max() + 1)[patients]
    table["family"] = pd.Series(patients // 2).map("F{:06d}".format)
    start = time.perf_counter()
    split_patients(table, Split(stratify=("site",)), Columns(group=("family",)))
    return time.perf_counter() - start


def main() -> None:
    taking, comparing, fitted, found = time_audit()
    many = time_many()
    splitting = time_split()
    ratios = {
        "audit_1000_seconds": {"value": round(taking + comparing, 1), "bar": AUDIT_SECONDS},
        "compare_10000_seconds": {"value": round(many, 1), "bar": MANY_SECONDS},
        "split_100000_seconds": {"value": round(splitting, 1), "bar": SPLIT_SECONDS},
    }
    for figure in ratios.values():
        figure["holds"] = figure["value"] <= figure["bar"]
    print(f"{'descriptors of 1,000 scans':34} {taking:8.1f} s")
    print(f"{f'all pairs ({fitted} fitted, {found} near-duplicates)':34} {comparing:8.1f} s")
    print(f"{'all pairs of 10,000 descriptors':34} {many:8.1f} s")
    print(f"{'split of 100,000 rows':34} {splitting:8.1f} s")
    print(json.dumps({"benchmark": "splits", "ratios": ratios, "machine": platform.processor() or platform.machine()}))


if __name__ == "__main__":
    main()
