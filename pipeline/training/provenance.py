"""What a training was made of, as hashes: its settings, its data, and the code that made weights of them."""

import hashlib
import json

import pandas as pd

from pipeline.config import Config, Plan
from pipeline.core.columns import LABEL, SCAN_ID, TRAIN, VAL
from pipeline.core.provenance import hash_of_modules, without_folders
from pipeline.store.store import Store

DECIDES_WEIGHTS = (
    "config",
    "core/folds.py",
    "core/provenance.py",
    "data",
    "imaging/geometry.py",
    "imaging/intensity.py",
    "imaging/voxel_codes.py",
    "models",
    "store/nifti_entry.py",
    "store/store.py",
    "train.py",
    "training",
)
"""The code of this package that the train stage depends on, in dvc.yaml too."""


def run_key(config: Config, plan: Plan, data_hash: str) -> str:
    """A short hash of all that decides the weights: what is trained, how, on what. Also the id of the W&B run."""
    decisive = config.model_dump(mode="json", include={"name", "fold", "seed", "model", "augmentation", "training"})
    cohort = config.cohort.model_dump(
        mode="json", include={"name", "modality", "laterality", "size_is_diagnostic", "task"}
    )
    decisive |= {"cohort": cohort, "plan": plan.model_dump(mode="json", exclude={"measured"}), "data": data_hash}
    # What is left out decides nothing, and the checkpoint, from which the key can be told again, does not hold it.
    decisive = without_folders(decisive)
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:12]


def hash_of_data(store: Store, rows: dict[str, pd.DataFrame]) -> str:
    """One hash of voxels, labels and sides."""
    seen = pd.concat([rows[TRAIN].assign(side=TRAIN), rows[VAL].assign(side=VAL)])
    lines = seen[[SCAN_ID, LABEL, "side"]].sort_values(SCAN_ID).to_csv(index=False)
    return hashlib.sha256((store.fingerprint(seen[SCAN_ID]) + lines).encode()).hexdigest()


def hash_of_code() -> str:
    """One hash of all modules that decide the weights, by name and content."""
    return hash_of_modules(DECIDES_WEIGHTS)
