"""Fast phantom heads: one anatomy for all, and individual folds in each head."""

from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
from scipy import ndimage

from pipeline.imaging.validation import check_scan
from pipeline.splits.near_duplicates.descriptors import Descriptors, descriptor

SHAPE = (40, 46, 38)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


@cache
def lobes() -> np.ndarray:
    """The texture that all heads share."""
    return ndimage.gaussian_filter(np.random.default_rng(10**6).normal(size=SHAPE), 4) * 40


def head(person: int) -> np.ndarray:
    """A head with the skull and lobes that all heads share, an individual size, and an individual texture."""
    rng = np.random.default_rng(person)
    axes = [np.linspace(-1, 1, size) for size in SHAPE]
    radius = np.sqrt(sum((axis / rng.uniform(0.7, 0.85)) ** 2 for axis in np.meshgrid(*axes, indexing="ij")))
    folds = ndimage.gaussian_filter(rng.normal(size=SHAPE), 2) * 8
    tissue = 500 + 150 * lobes() + 300 * folds + 400 * (radius > 0.85)
    return (np.where(radius < 1, tissue, 20) + rng.normal(0, 5, SHAPE)).astype(np.float32)


def write_scan(path: Path, volume: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    nibabel.save(nibabel.Nifti1Image(volume, affine), path)


def write_cohort(folder: Path, num_patients: int) -> pd.DataFrame:
    """One scan per patient, and rows as in cohort.csv."""
    rows = []
    for person in range(num_patients):
        write_scan(folder / f"S{person:03d}.nii", head(person))
        rows.append(row_of(folder, f"S{person:03d}", f"P{person:03d}", ("healthy", "lesion")[person % 2]))
    return pd.DataFrame(rows)


def row_of(folder: Path, scan_id: str, patient_id: str, label: str) -> dict[str, str]:
    facts = check_scan(folder / f"{scan_id}.nii").facts
    return {
        "scan_id": scan_id,
        "patient_id": patient_id,
        "path": f"{scan_id}.nii",
        "label": label,
        "shape": "x".join(str(size) for size in facts.shape),
        "spacing_mm": "x".join(f"{size:.6g}" for size in facts.spacing_mm),
        "orientation": facts.orientation,
        "file_sha256": facts.file_sha256,
        "voxel_sha256": facts.voxel_sha256,
    }


def descriptors_of(volumes: list[np.ndarray]) -> Descriptors:
    """The descriptors of volumes in memory."""
    described = [descriptor(volume, AFFINE) for volume in volumes]
    return Descriptors(*(np.stack(part) for part in zip(*described, strict=True)))
