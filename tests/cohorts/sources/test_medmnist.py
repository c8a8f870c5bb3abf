"""MedMNIST3D becomes NIfTI with its official split, and a missing or damaged archive is one clear error."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from pipeline.cohorts.sources.medmnist import MedmnistArchive, find_archive, write_medmnist
from pipeline.core.paths import CohortPaths

ADRENAL = MedmnistArchive("adrenal", 28)


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Path:
    if "VOLUME_DATA" not in os.environ:
        pytest.skip("VOLUME_DATA does not name the folder of real volumes")
    root = Path(os.environ["VOLUME_DATA"]) / "medmnist"
    monkeypatch.setenv("MEDMNIST_ROOT", str(root))
    return root / "adrenalmnist3d.npz"


def test_adrenal_keeps_its_official_split_labels_and_voxels(archive: Path, tmp_path: Path) -> None:
    paths = CohortPaths(tmp_path)
    write_medmnist(ADRENAL, paths, tmp_path / "download")
    table = pd.read_csv(paths.labels)
    counts = table.groupby(["split", "label"]).size().to_dict()
    assert counts == {
        ("train", "normal"): 929,
        ("train", "hyperplasia"): 259,
        ("val", "normal"): 76,
        ("val", "hyperplasia"): 22,
        ("test", "normal"): 229,
        ("test", "hyperplasia"): 69,
    }
    last = nib.load(paths.raw / table.path.iloc[-1])
    assert (np.asarray(last.dataobj) == np.load(archive)["test_images"][-1]).all()
    assert np.allclose(last.affine, np.diag([64 / 28, 64 / 28, 64 / 28, 1]))
    assert not (tmp_path / "download").exists()


def test_missing_archive_names_file_address_and_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDMNIST_ROOT", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="vesselmnist3d_64.npz.*zenodo.*MEDMNIST_ROOT"):
        find_archive(MedmnistArchive("vessel", 64), tmp_path)


def test_damaged_archive_is_rejected_by_its_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "adrenalmnist3d.npz").write_bytes(b"half an archive")
    monkeypatch.setenv("MEDMNIST_ROOT", str(tmp_path))
    with pytest.raises(ValueError, match="damaged.*bbd3c5a5576322bc4cdfea780653b1ce"):
        find_archive(ADRENAL, tmp_path)
