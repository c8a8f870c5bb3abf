"""MedMNIST3D (Yang et al., Scientific Data 10:41, 2023) as NIfTI, with its official split."""

import hashlib
import os
from pathlib import Path

import medmnist
import numpy as np
import pandas as pd
from medmnist.info import INFO
from rich.console import Console
from rich.progress import track

from pipeline.cohorts.nifti import save_nifti
from pipeline.config import MedmnistSource
from pipeline.core.columns import LABEL, PATH, PATIENT_ID, SCAN_ID, SPLIT, TEST, TRAIN, VAL
from pipeline.core.paths import CohortPaths

ROOT_VARIABLE = "MEDMNIST_ROOT"
WIDTH_MM = 64.0
"""Of every volume: the sets publish neither spacing nor orientation, so 64 voxels are taken as 1 mm along R, A, S."""


def write_medmnist(source: MedmnistSource, paths: CohortPaths, download: Path) -> None:
    """Write every volume and the label table; a patient is a scan, because the sets name no patients.

    The archive lies in the folder that MEDMNIST_ROOT names, or is downloaded into `download`.
    Raises `FileNotFoundError` if it is in neither, `ValueError` if it is damaged.
    """
    archive = find_archive(source, download)
    affine = np.diag([*[WIDTH_MM / source.size] * 3, 1.0])
    rows = []
    for split in (TRAIN, VAL, TEST):
        volumes, labels = _read(source, archive, split)
        described = track(volumes, f"{source.name} {split}", console=Console(stderr=True), transient=True)
        for number, (volume, label) in enumerate(zip(described, labels, strict=True)):
            scan_id = f"{split}-{number:04d}"
            row = {SCAN_ID: scan_id, PATIENT_ID: scan_id, PATH: f"{scan_id}.nii.gz", LABEL: label, SPLIT: split}
            save_nifti(paths.raw / row[PATH], volume, affine)
            rows.append(row)
    pd.DataFrame(rows).to_csv(paths.labels, index=False)


def find_archive(source: MedmnistSource, download: Path) -> Path:
    """The `.npz` file, complete by its MD5."""
    root = os.environ.get(ROOT_VARIABLE)
    archive = Path(root or download) / f"{_flag(source)}{_suffix(source)}.npz"
    if not root:
        _download(source, archive)
    if not archive.is_file():
        raise FileNotFoundError(f"{archive}: no such file in the folder that {ROOT_VARIABLE} names; {_advice(source)}")
    with archive.open("rb") as stream:
        found = hashlib.file_digest(stream, "md5").hexdigest()
    expected = INFO[_flag(source)][f"MD5{_suffix(source)}"]
    if found != expected:
        raise ValueError(f"{archive}: damaged, its MD5 is {found}, expected {expected}; {_advice(source)}")
    return archive


def _download(source: MedmnistSource, archive: Path) -> None:
    """Through the package, which keeps a complete file and replaces a broken one."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    try:
        _dataset(source, archive, TRAIN, download=True)
    except RuntimeError:
        raise FileNotFoundError(f"{archive}: the download failed; {_advice(source)}") from None


def _read(source: MedmnistSource, archive: Path, split: str) -> tuple[np.ndarray, list[str]]:
    """Volumes (N, i, j, k) of one split, and their class names."""
    names = INFO[_flag(source)]["label"]
    dataset = _dataset(source, archive, split, download=False)
    return dataset.imgs, [names[str(label)].replace(" ", "_") for label in dataset.labels[:, 0]]


def _dataset(source: MedmnistSource, archive: Path, split: str, *, download: bool) -> medmnist.dataset.MedMNIST3D:
    dataset_class = getattr(medmnist, INFO[_flag(source)]["python_class"])
    return dataset_class(split=split, root=archive.parent, size=source.size, download=download)


def _advice(source: MedmnistSource) -> str:
    url = INFO[_flag(source)][f"url{_suffix(source)}"]
    return f"get it from {url} and set {ROOT_VARIABLE} to its folder."


def _flag(source: MedmnistSource) -> str:
    """The package's name of the set."""
    return f"{source.name}mnist3d"


def _suffix(source: MedmnistSource) -> str:
    """What the package adds for a size other than 28."""
    return "" if source.size == 28 else f"_{source.size}"
