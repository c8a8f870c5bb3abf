"""Generated tables of predictions."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.sample import Sample

MakePredictions = Callable[..., pd.DataFrame]


@pytest.fixture
def make_predictions() -> MakePredictions:
    """A table of patients with one to three scans whose scores hang together; two classes or more."""
    return predictions


@pytest.fixture
def make_sample() -> Callable[..., Sample]:
    """A sample with ties, several scans a patient and every class."""
    return random_sample


def predictions(
    seed: int = 0, patients: int = 60, num_classes: int = 2, num_folds: int = 1, signal: float = 1.2
) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    names = ["healthy", "lesion"] if num_classes == 2 else [f"grade{k}" for k in range(num_classes)]
    rows = []
    for split in ("val", "test"):
        for patient in range(patients):
            truth, shared = patient % num_classes, rng.normal(size=num_classes)
            for scan in range(rng.integers(1, 4)):
                for fold in [patient % num_folds] if split == "val" else range(num_folds):
                    logits = shared + rng.normal(size=num_classes) / 2
                    logits[truth] += signal
                    probs = np.exp(logits) / np.exp(logits).sum()
                    scan_id = f"{split}-{patient:03d}-{scan}"
                    rows.append([scan_id, f"{split}-{patient:03d}", fold, split, names[truth], *probs])
    columns = ["scan_id", "patient_id", "fold", "split", "label", *(f"prob_{name}" for name in names)]
    return pd.DataFrame(rows, columns=columns)


def random_sample(
    seed: int = 0, rows: int = 90, num_classes: int = 2, num_folds: int = 1, threshold: float | None = None
) -> Sample:
    rng = np.random.default_rng(seed)
    patients = np.sort(rng.integers(rows // 2, size=rows))
    patients = np.unique(patients, return_inverse=True)[1]
    labels = rng.integers(num_classes, size=patients.max() + 1)[patients]
    logits = rng.normal(size=(rows, num_classes)) + 0.8 * np.eye(num_classes)[labels]
    probs = np.round(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), 2)  # rounded, so that there are ties
    probs[:, 0] += 1 - probs.sum(1)
    names = tuple(f"class{k}" for k in range(num_classes))
    return Sample(labels, probs, patients, patients % num_folds, names, threshold)
