"""MedMNIST3D (Yang et al., Scientific Data 10:41, 2023) as NIfTI, with its official split."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import medmnist
import numpy as np
import pandas as pd
from medmnist.info import INFO

from pipeline.core.columns import LABEL, PATH, PATIENT_ID, SCAN_ID, SPLIT, TEST, TRAIN, VAL
from pipeline.core.paths import CohortPaths
from pipeline.core.progress import show_progress
from pipeline.imaging.io.write import write_nifti

ROOT_VARIABLE = "MEDMNIST_ROOT"
WIDTH_MM = 64.0
"""Of every volume: the sets publish neither spacing nor orientation, so 64 voxels are taken as 1 mm along R, A, S."""


@dataclass(frozen=True)
class MedmnistArchive:
    """The `.npz` file of one set at one size."""

    name: str
    """Of the set, such as `adrenal`."""
    size: int
    """Voxels per axis."""

    @property
    def info(self) -> dict[str, object]:
        """What the package knows of the set."""
        return INFO[f"{self.name}mnist3d"]

    @property
    def suffix(self) -> str:
        """What the package adds to names for a size other than 28."""
        return "" if self.size == 28 else f"_{self.size}"

    @property
    def filename(self) -> str:
        return f"{self.name}mnist3d{self.suffix}.npz"

    @property
    def advice(self) -> str:
        return f"get it from {self.info[f'url{self.suffix}']} and set {ROOT_VARIABLE} to its folder."

    def load(self, folder: Path, split: str, *, download: bool) -> medmnist.dataset.MedMNIST3D:
        """The package's dataset of one split."""
        dataset_class = getattr(medmnist, self.info["python_class"])
        return dataset_class(split=split, root=folder, size=self.size, download=download)


def write_medmnist(archive: MedmnistArchive, paths: CohortPaths, downloads: Path) -> None:
    """Write every volume and the label table; each scan is its own patient, because the sets name no patients.

    The archive is read from the folder that MEDMNIST_ROOT names, or is downloaded into `downloads`.
    Raises `FileNotFoundError` if it is in neither, `ValueError` if it is damaged.
    """
    folder = find_archive(archive, downloads).parent
    affine = np.diag([*[WIDTH_MM / archive.size] * 3, 1.0])
    rows = []
    for split in (TRAIN, VAL, TEST):
        volumes, labels = read_split(archive, folder, split)
        described = show_progress(volumes, len(volumes), f"fetch {archive.name} {split}")
        for number, (volume, label) in enumerate(zip(described, labels, strict=True)):
            scan_id = f"{split}-{number:04d}"
            row = {SCAN_ID: scan_id, PATIENT_ID: scan_id, PATH: f"{scan_id}.nii.gz", LABEL: label, SPLIT: split}
            write_nifti(paths.raw / row[PATH], volume, affine)
            rows.append(row)
    pd.DataFrame(rows).to_csv(paths.labels, index=False)


def find_archive(archive: MedmnistArchive, downloads: Path) -> Path:
    """The archive's file, whose MD5 was checked."""
    root = os.environ.get(ROOT_VARIABLE)
    file = Path(root or downloads) / archive.filename
    if not root:
        download(archive, file)
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file in the folder that {ROOT_VARIABLE} names; {archive.advice}")
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "md5").hexdigest()
    expected = archive.info[f"MD5{archive.suffix}"]
    if found != expected:
        raise ValueError(f"{file}: damaged, its MD5 is {found}, expected {expected}; {archive.advice}")
    return file


def download(archive: MedmnistArchive, file: Path) -> None:
    """Download through the package, which keeps a complete file and replaces a broken one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        archive.load(file.parent, TRAIN, download=True)
    except RuntimeError:
        raise FileNotFoundError(f"{file}: the download failed; {archive.advice}") from None


def read_split(archive: MedmnistArchive, folder: Path, split: str) -> tuple[np.ndarray, list[str]]:
    """Volumes (N, i, j, k) of one split, and their class names."""
    names = archive.info["label"]
    dataset = archive.load(folder, split, download=False)
    return dataset.imgs, [names[str(label)].replace(" ", "_") for label in dataset.labels[:, 0]]
