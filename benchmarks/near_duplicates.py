"""Which altered copies of a scan the leak gate finds, and how alike different people are.

    python -m benchmarks.near_duplicates                          # on data/phantom/raw, after `dvc repro fetch`
    python -m benchmarks.near_duplicates /path/to/scans           # on a folder of scans, one per person

Each change is made to copies of some scans, under another patient, and searched for among all the others. The table has
the share that is found, and the smallest and median fitted similarity of the copies. The last row is the largest
similarity of any two scans that are no copies: what the threshold must stay above.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage

from pipeline.core.tables import read_table
from pipeline.imaging.io.discover import find_scans
from pipeline.imaging.io.read import read_scan
from pipeline.splits.near_duplicates.descriptors import Descriptors, descriptor
from pipeline.splits.near_duplicates.search import NEAR_DUPLICATE, candidates, fit
from pipeline.splits.near_duplicates.similarity import find_shared_components

PHANTOM = Path("data/phantom")
MAX_SCANS, COPIES = 120, 20
Volume = np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="scans, one per person (default: the phantom cohort)")
    arguments = parser.parse_args()
    scans = [read_scan(path) for path in choose_scans(arguments.folder)[:MAX_SCANS]]
    own = [descriptor(scan.array, scan.affine) for scan in scans]
    rows, largest = {}, different(own)
    for name, change in CHANGES.items():
        row = rows[name] = found_copies(own, [descriptor(change(scan.array), scan.affine) for scan in scans[:COPIES]])
        print(f"{name:<34}{row['found']:>8.0%}{row['lowest']:>10.2f}{row['median']:>10.2f}", flush=True)
    print(f"{'most similar different scans':<34}{'':>8}{largest:>10.2f}")
    print(json.dumps({"benchmark": "near_duplicates", "num_scans": len(scans), "changes": rows, "different": largest}))


def choose_scans(folder: Path | None) -> list[Path]:
    """The scans of a folder, or the first of each patient of the phantom cohort."""
    if folder is not None:
        return sorted(find_scans(folder))
    table = read_table(PHANTOM / "cohort.csv").drop_duplicates("patient_id")
    return [PHANTOM / "raw" / path for path in table["path"]]


def search(pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[tuple[int, int, float]]:
    """Every candidate (first, second, fitted similarity) among descriptors of scans of different people."""
    descriptors = Descriptors(*(np.stack(part) for part in zip(*pairs, strict=True)))
    shared = find_shared_components(descriptors)
    everyone, one_partition = np.arange(len(pairs)), np.zeros(len(pairs), int)
    found = [fit(descriptors, shared, pair) for pair in candidates(descriptors, shared, everyone, one_partition)]
    return [(pair.first, pair.second, pair.fitted) for pair in found]


def found_copies(own: list, copies: list) -> dict[str, float]:
    """Share of copies that are found, lowest and median similarity to their original; 0 if it was no candidate."""
    similarity = np.zeros(len(copies))
    for first, second, fitted in search([*own, *copies]):
        if abs(first - second) == len(own) and min(first, second) < len(copies):
            similarity[min(first, second)] = fitted
    return {
        "found": float((similarity >= NEAR_DUPLICATE).mean()),
        "lowest": round(float(similarity.min()), 3),
        "median": round(float(np.median(similarity)), 3),
    }


def different(own: list) -> float:
    return round(max((fitted for _, _, fitted in search(own)), default=0.0), 3)


def unit(volume: Volume) -> Volume:
    low, high = np.percentile(volume, (0.5, 99.5))
    return np.clip((volume.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)


def noisy(volume: Volume) -> Volume:
    return unit(volume) + np.random.default_rng(0).normal(0, 0.05, volume.shape)


def cropped(share: float) -> Callable[[Volume], Volume]:
    def change(volume: Volume) -> Volume:
        cut = [slice(round(share / 2 * size), size - round(share / 2 * size)) for size in volume.shape]
        return volume[tuple(cut)]

    return change


def turned(degrees: float) -> Callable[[Volume], Volume]:
    return lambda volume: ndimage.rotate(unit(volume), degrees, axes=(0, 1), reshape=False, order=1)


def biased(volume: Volume) -> Volume:
    """A field from 0.5 to 1.5 along the first axis."""
    field = np.linspace(0.5, 1.5, volume.shape[0], dtype=np.float32)
    return unit(volume) * field[:, None, None]


def stripped(volume: Volume) -> Volume:
    """Only what is left of the bright tissue after eroding it by a tenth of the volume."""
    inside = ndimage.binary_fill_holes(unit(volume) > 0.25)
    return volume * ndimage.binary_erosion(inside, iterations=max(1, min(volume.shape) // 10))


CHANGES: dict[str, Callable[[Volume], Volume]] = {
    "copied": lambda volume: volume,
    "noise, 5 %": noisy,
    "smoothed, 1 voxel": lambda volume: ndimage.gaussian_filter(unit(volume), 1),
    "resampled to 70 %": lambda volume: ndimage.zoom(unit(volume), 0.7, order=1),
    "mirrored": lambda volume: volume[::-1],
    "inverted": lambda volume: 1 - unit(volume),
    "gamma 0.4": lambda volume: unit(volume) ** 0.4,
    "gamma 2.5": lambda volume: unit(volume) ** 2.5,
    "window of the middle half": lambda volume: np.clip(unit(volume), 0.25, 0.75),
    "cropped by 15 %": cropped(0.15),
    "cropped by 30 %": cropped(0.3),
    "turned by 5 degrees": turned(5),
    "turned by 15 degrees": turned(15),
    "bias field of 50 %": biased,
    "outer tissue removed": stripped,
}

if __name__ == "__main__":
    main()
