"""What a training was made of, as hashes: its settings, its data, and the code that made weights of them."""

import functools
import hashlib
import json
from pathlib import Path

import pandas as pd

from pipeline.config import Config, Plan
from pipeline.core.columns import LABEL, SCAN_ID, TRAIN, VAL
from pipeline.core.provenance import without_folders
from pipeline.store.store import Store

PACKAGE = Path(__file__).parents[1]
DECIDES_WEIGHTS = (
    *("config", "loading", "models", "training", "train.py", "folds.py"),
    *("scans/entry.py", "scans/geometry.py", "scans/histogram.py", "scans/store.py"),
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


@functools.cache
def hash_of_code() -> str:
    """One hash of all modules that decide the weights, by name and content."""
    places = [PACKAGE / name for name in DECIDES_WEIGHTS]
    modules = sorted(module for place in places for module in (place.rglob("*.py") if place.is_dir() else [place]))
    digest = hashlib.sha256()
    for module in modules:
        content = module.read_bytes()
        digest.update(f"{module.relative_to(PACKAGE).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()
