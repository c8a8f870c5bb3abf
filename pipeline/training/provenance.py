"""Hashes of what a training depends on: its settings, its data and its code."""

import hashlib
import json

import pandas as pd

from pipeline.config import Config, Plan
from pipeline.core.columns import LABEL, SCAN_ID, SPLIT, TRAIN, VAL
from pipeline.core.provenance import hash_of_modules, strip_local_paths
from pipeline.store.store import Store

DECIDES_WEIGHTS = (
    "config",
    "core/folds.py",
    "core/provenance.py",
    "data",
    "imaging/extra_transforms.py",
    "imaging/geometry.py",
    "imaging/intensity.py",
    "imaging/shape.py",
    "imaging/voxel_codes.py",
    "models",
    "store/nifti_entry.py",
    "store/store.py",
    "train.py",
    "training",
)
"""Modules and folders of this package that decide the weights; the train stage of dvc.yaml depends on them too."""


def run_key(config: Config, plan: Plan, data_hash: str) -> str:
    """A short hash of everything that decides the weights: settings, plan and data. Also the id of the W&B run."""
    decisive = config.model_dump(mode="json", include={"name", "fold", "seed", "model", "augmentation", "training"})
    cohort = config.cohort.model_dump(
        mode="json", include={"name", "modality", "laterality", "size_is_diagnostic", "task"}
    )
    planned = plan.model_dump(mode="json", exclude={"measured", "reference"})
    decisive |= {"cohort": cohort, "plan": planned, "data": data_hash}
    # Local folders decide nothing, and the checkpoint, from which the key can be computed again, does not contain them.
    decisive = strip_local_paths(decisive)
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:12]


def hash_of_data(store: Store, rows: dict[str, pd.DataFrame]) -> str:
    """One hash of the voxels, labels and splits of the training and validation scans."""
    used = pd.concat([rows[split].assign(**{SPLIT: split}) for split in (TRAIN, VAL)])
    lines = used[[SCAN_ID, LABEL, SPLIT]].sort_values(SCAN_ID).to_csv(index=False)
    return hashlib.sha256((store.fingerprint(used[SCAN_ID]) + lines).encode()).hexdigest()


def hash_of_code() -> str:
    """One hash of all modules that decide the weights, by name and content."""
    return hash_of_modules(DECIDES_WEIGHTS)
