"""Which scans the input guard of a trained run holds back: its own kind, spoiled ones, and others.

    export HIPPOCAMPUS=/path/to/hippocampus VOLUME_DATA=/path/to/volumes    (with open_ms/ and medmnist/)
    for verb in fetch ingest split plan preprocess train predict; do
        python -m pipeline.$verb --config 2d_frozen.yaml cohort=hippocampus root=/tmp/guard
    done
    python -m benchmarks.guard --root /tmp/guard --experiment 2d_frozen

The scans of the cohort are those of its locked test set, which nothing of the guard was fitted on; no label is read.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import nibabel
import numpy as np
from nibabel.processing import conform

from benchmarks.timing import Ratio, report
from pipeline.cohorts.label_table import read_cohort
from pipeline.core.columns import PATH, SCAN_ID, TEST
from pipeline.core.folds import read_splits, rows_of_fold
from pipeline.core.paths import Artifacts, TrainingKey
from pipeline.core.tables import read_table
from pipeline.inference.trained_run import TrainedRun

COHORT = "hippocampus"
SIZE_MM = (35, 50, 35)
"""Of the cohort's scans."""
Image = nibabel.Nifti1Image
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def noise(voxels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Normal noise with the scan's own mean and deviation."""
    return generator.normal(voxels.mean(), voxels.std(), voxels.shape)


def pad(voxels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Zeros around it, so that each axis is a third longer."""
    return np.pad(voxels, [(size // 6, size // 6) for size in voxels.shape])


def crop(voxels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The middle two thirds of each axis."""
    return voxels[tuple(slice(size // 6, size - size // 6) for size in voxels.shape)]


CHANGES: dict[str, Change] = {
    "unchanged": lambda voxels, generator: voxels,
    "noise": noise,
    "empty": lambda voxels, generator: np.zeros_like(voxels),
    "wrong units, x1000": lambda voxels, generator: voxels * 1000,
    "padded by a third": pad,
    "cropped by a third": crop,
    "mirrored": lambda voxels, generator: voxels[::-1],
}
BARS = {"unchanged": None, "mirrored": None, "padded by a third": 0.8, "cropped by a third": 0.8}
"""Of the others 0.95."""


def held_out(root: Path, most: int) -> Iterator[Image]:
    paths = Artifacts(root).cohort(COHORT)
    files = read_cohort(paths.cohort).set_index(SCAN_ID)[PATH]
    for scan_id in rows_of_fold(read_splits(paths.splits), 0)[TEST][SCAN_ID][:most]:
        yield nibabel.load(paths.raw / files[scan_id])


def changed(root: Path, most: int, change: Change) -> Iterator[Image]:
    for number, scan in enumerate(held_out(root, most)):
        voxels = change(np.asarray(scan.dataobj, np.float32), np.random.default_rng(number))
        yield Image(np.ascontiguousarray(voxels, np.float32), scan.affine)


def heads(volumes: Path, sequence: str = "") -> Iterator[Image]:
    """Heads of open_ms, whole; of one sequence if it is named."""
    table = read_table(volumes / "open_ms" / "labels.csv")
    for path in table.loc[table["label"].str.startswith(sequence), "path"]:
        yield nibabel.load(volumes / "open_ms" / path)


def middle(head: Image) -> Image:
    """A block of the middle of a head at 1 mm, as large as a scan of the cohort."""
    shape = [round(size * mm) for size, mm in zip(head.shape, head.header.get_zooms(), strict=True)]
    head = conform(head, shape, (1, 1, 1), order=1)
    low = [(size - wanted) // 2 for size, wanted in zip(head.shape, SIZE_MM, strict=True)]
    return head.slicer[tuple(slice(start, start + size) for start, size in zip(low, SIZE_MM, strict=True))]


def adrenal_masks(volumes: Path, most: int) -> Iterator[Image]:
    with np.load(volumes / "medmnist" / "adrenalmnist3d_64.npz") as archive:
        for voxels in archive["test_images"][:most]:
            yield Image(np.asarray(voxels, np.uint8), np.eye(4))


def others(volumes: Path, most: int) -> dict[str, Iterator[Image]]:
    """Scans of no hippocampus in T1."""
    other_sequences = chain(heads(volumes, "T2"), heads(volumes, "FLAIR"))
    return {
        "another body part: whole heads": heads(volumes),
        "another body part: T1 of the mid brain": map(middle, heads(volumes, "T1")),
        "another modality: adrenal masks of CT": adrenal_masks(volumes, most),
        "another modality: T2, FLAIR of the mid brain": map(middle, other_sequences),
    }


def verdict_of(run: TrainedRun, scan: Image, folder: Path) -> str:
    """ok, warn or refuse; a scan that cannot be read is refused."""
    path = folder / "scan.nii"
    nibabel.save(scan, path)
    try:
        return run.predict(path).guard.verdict
    except ValueError:
        return "refuse"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--experiment", default="2d_frozen")
    parser.add_argument("--scans", type=int, default=40, help="of each kind, at most")
    options = parser.parse_args()
    training = Artifacts(options.root).run(COHORT, options.experiment).training(TrainingKey(0, 0))
    run, volumes = TrainedRun.load(training.folder), Path(os.environ["VOLUME_DATA"])
    kinds = {name: changed(options.root, options.scans, change) for name, change in CHANGES.items()}
    ratios = []
    print(f"{json.dumps(dict(run.guard.summary))}\n{'scans':<48}{'number':>8}{'warned':>8}{'refused':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for name, scans in (kinds | others(volumes, options.scans)).items():
            verdicts = [verdict_of(run, scan, Path(folder)) for scan in scans]
            counts = [verdicts.count(verdict) for verdict in ("warn", "refuse")]
            print(f"{name:<48}{len(verdicts):>8}{counts[0]:>8}{counts[1]:>8}", flush=True)
            bar = BARS.get(name, 0.95)
            found = sum(counts) / len(verdicts) if verdicts else None
            ratios.append(Ratio(name, found, at_least=bar, reason=f"of {len(verdicts)} scans"))
    report("guard", {}, ratios)


if __name__ == "__main__":
    main()
