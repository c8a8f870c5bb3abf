"""Time reading and preprocessing of a T1-like scan, 176 x 256 x 256 int16, against MONAI, TorchIO and the floor.

    python benchmarks/preprocess.py [number of scans in the cohort, default 200]

All single-scan times are on one core. Heavy libraries are imported late, since worker processes import this file too.
Prints a table and, as its last line, one JSON object; some minutes in all.
"""

import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from isal import igzip

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.preprocess_cohort import time_cohort  # noqa: E402
from benchmarks.t1_like import PLAN, SHAPE, SIZE, SPACING_MM, write_scan  # noqa: E402
from benchmarks.timing import Ratio, in_turn, report  # noqa: E402
from pipeline.config import Plan  # noqa: E402
from pipeline.store.store import Store  # noqa: E402

OBLIQUE = PLAN.model_copy(update={"tilt": "straighten"})
HASHES = {"source_sha256": "", "plan_sha256": "", "code_sha256": ""}
REPEATS = 7

MEMORY_PROBE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from pipeline.config import Plan
from pipeline.imaging.preprocessing import preprocess_scan
from pipeline.store.store import Store
plan = Plan.model_validate_json(sys.argv[4])
def memory(key):
    return int(Path("/proc/self/status").read_text().split(key + ":")[1].split()[0]) * 1024
# The peak so far is that of the imports; the kernel forgets it on request.
Path("/proc/self/clear_refs").write_text("5")
before = memory("VmRSS")
prepared = preprocess_scan(Path(sys.argv[2]), plan)
hashes = {"source_sha256": "", "plan_sha256": "", "code_sha256": ""}
Store(Path(sys.argv[3])).write("scan", prepared.array, prepared.affine, **hashes)
print(memory("VmHWM") - before)
"""


def monai_stock(out: Path):
    from monai import transforms as m

    return m.Compose(
        [
            m.LoadImage(image_only=True),
            m.EnsureChannelFirst(),
            m.Orientation("RAS"),
            m.Spacing((SPACING_MM,) * 3),
            m.CropForeground(),
            m.ResizeWithPadOrCrop(SIZE),
            m.NormalizeIntensity(nonzero=True),
            m.SaveImage(out, output_ext=".nii", print_log=False, separate_folder=False),
        ]
    )


def torchio_stock(path: Path, out: Path) -> None:
    import torchio as tio

    steps = tio.Compose(
        [
            tio.ToCanonical(),
            tio.Resample(SPACING_MM),
            tio.CropOrPad(SIZE),
            tio.ZNormalization(masking_method=tio.ZNormalization.mean),
        ]
    )
    steps(tio.ScalarImage(path)).save(out / "torchio.nii")


def floor(path: Path) -> None:
    """Inflate, then one trilinear pass."""
    import torch

    raw = igzip.decompress(path.read_bytes())
    voxels = np.frombuffer(raw, np.int16, offset=352).reshape(SHAPE[::-1])
    torch.nn.functional.interpolate(
        torch.from_numpy(voxels.astype(np.float32))[None, None], SIZE[::-1], mode="trilinear"
    )


def whole_step(path: Path, plan: Plan, transforms: Callable, store: Store) -> None:
    from pipeline.imaging.preprocessing import preprocess_scan

    prepared = preprocess_scan(path, plan, transforms)
    store.write(path.name, prepared.array, prepared.affine, **HASHES)


def time_one_scan(folder: Path) -> dict[str, float]:
    """Median seconds of each contender on one core."""
    import torch
    from monai.transforms import LoadImage

    from pipeline.imaging.io.monai_reader import ScanReader, load_scan
    from pipeline.imaging.transforms import scan_transforms

    path, oblique = folder / "scan.nii.gz", folder / "oblique.nii.gz"
    write_scan(path, 0)
    write_scan(oblique, 0, tilt_degrees=15)
    store, load, stock = Store(folder / "one"), LoadImage(image_only=True), monai_stock(folder)
    read, straight, tilted = load_scan("image", ScanReader()), scan_transforms(PLAN), scan_transforms(OBLIQUE)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    torch.set_num_threads(1)
    try:
        return in_turn(
            REPEATS,
            read=lambda: read({"image": path}),
            read_monai=lambda: load(path),
            inflate_alone=lambda: igzip.decompress(path.read_bytes()),
            prepare=lambda: whole_step(path, PLAN, straight, store),
            prepare_monai=lambda: stock(path),
            prepare_torchio=lambda: torchio_stock(path, folder),
            floor=lambda: floor(path),
            prepare_oblique=lambda: whole_step(oblique, OBLIQUE, tilted, store),
        )
    finally:
        os.sched_setaffinity(0, cores)


def peak_bytes(folder: Path) -> int:
    """Memory that one scan takes beyond the libraries, in a process of its own."""
    words = [
        sys.executable,
        "-c",
        MEMORY_PROBE,
        str(Path(__file__).parents[1]),
        str(folder / "scan.nii.gz"),
        str(folder),
        PLAN.model_dump_json(),
    ]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    num_scans = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as name:
        one = time_one_scan(Path(name))
        cohort, of_cohort = time_cohort(Path(name), num_scans)
        memory = peak_bytes(Path(name)) / (4 * np.prod(SHAPE))
    report(
        "preprocess",
        one | cohort,
        [
            Ratio("reading_vs_monai", one["read_monai"] / one["read"], at_least=4),
            Ratio("inflating_alone_vs_monai", one["read_monai"] / one["inflate_alone"]),
            Ratio("step_vs_monai", one["prepare_monai"] / one["prepare"], at_least=4),
            Ratio("step_vs_torchio", one["prepare_torchio"] / one["prepare"], at_least=3),
            Ratio("step_vs_floor", one["prepare"] / one["floor"], at_most=2.5),
            Ratio("oblique_vs_axis_aligned", one["prepare_oblique"] / one["prepare"]),
            *of_cohort,
            Ratio("peak_memory_per_float32_volume", memory, at_most=3),
        ],
    )


if __name__ == "__main__":
    main()
