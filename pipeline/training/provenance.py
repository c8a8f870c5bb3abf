"""What a training was made of, as hashes: the scans, labels and sides of its data."""

import hashlib

import pandas as pd

from pipeline.artifacts import LABEL, SCAN_ID, TRAIN, VAL
from pipeline.scans.store import Store


def hash_of_data(store: Store, rows: dict[str, pd.DataFrame]) -> str:
    """One hash of voxels, labels and sides."""
    seen = pd.concat([rows[TRAIN].assign(side=TRAIN), rows[VAL].assign(side=VAL)])
    lines = seen[[SCAN_ID, LABEL, "side"]].sort_values(SCAN_ID).to_csv(index=False)
    return hashlib.sha256((store.fingerprint(seen[SCAN_ID]) + lines).encode()).hexdigest()
