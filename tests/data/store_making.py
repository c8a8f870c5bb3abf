"""A small store of random volumes and its table."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.store.store import Store

SHAPE = (8, 9, 10)


def make_store(folder: Path, num_scans: int) -> tuple[Store, pd.DataFrame]:
    """Scans s0, s1, …, with alternating labels; voxels are whole numbers, so the store keeps them exactly."""
    store = Store(folder)
    rng = np.random.default_rng(0)
    for number in range(num_scans):
        array = rng.integers(-100, 100, (1, *SHAPE)).astype(np.float32)
        store.write(f"s{number}", array, np.eye(4), source_sha256="a", plan_sha256="b", code_sha256="c")
    names = [f"s{number}" for number in range(num_scans)]
    table = pd.DataFrame({"scan_id": names, "patient_id": names, "label": [number % 2 for number in range(num_scans)]})
    return store, table
