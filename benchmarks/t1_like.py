"""A scan to time reading on, as large and as compressible as a T1 of a whole head, and a plan to prepare it by."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

from pipeline.config import Plan

SHAPE = (176, 256, 256)
SPACING_MM, SIZE = 1.5, (96, 128, 96)
PLAN = Plan(
    orientation="RAS",
    spacing_mm=(SPACING_MM,) * 3,
    size_voxels=SIZE,
    crop="foreground",
    intensity={"scheme": "zscore"},
    batch_size=1,
    accumulate=1,
    max_epochs=1,
    reasons={},
)


def write_scan(path: Path, seed: int, tilt_degrees: float = 0) -> None:
    """A textured, noisy head in air of exact zeros, gzipped at level 1.

    Matched to the five raw T1 scans of the open MS data (longitudinal): there 58 to 62 % of the voxels are 0, the 99th
    percentile is 700 to 1080, and level 1 leaves 0.285 to 0.308 of the bytes; here it is 58 %, about 740 and 0.30.
    """
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size, dtype=np.float32) for size in SHAPE), indexing="ij")
    is_head = x**2 + y**2 + z**2 < 0.93**2
    texture = 500 + 150 * np.sin(20 * x) * np.cos(15 * y) + 100 * np.sin(25 * z)
    array = (is_head * np.abs(texture + rng.normal(0, 30, SHAPE).astype(np.float32))).astype(np.int16)
    angle = np.deg2rad(tilt_degrees)
    affine = np.eye(4)
    affine[:2, :2] = [[-np.cos(angle), np.sin(angle)], [-np.sin(angle), -np.cos(angle)]]
    path.write_bytes(gzip.compress(nib.Nifti1Image(array, affine).to_bytes(), 1))
