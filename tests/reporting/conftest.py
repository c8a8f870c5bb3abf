"""The config of a cohort and experiments that the tests of pages invent."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.config import Config
from pipeline.store.store import Store


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.model_validate(
        {
            "name": "tiny",
            "root": tmp_path,
            "experiments": ["tiny", "other"],
            "model": {"name": "poolformer_s12"},
            "cohort": {
                "name": "made",
                "source": {"kind": "phantom"},
                "columns": {"clinical": ["age"], "site": "site"},
                "positive_class": "disease",
                "modality": "MR",
                "laterality": "relevant",
            },
        }
    )


@pytest.fixture
def store(tmp_path) -> Store:
    """Scans of a 4 mm block, whose brightness rises from left to right."""
    store = Store(tmp_path)
    volume = np.tile(np.linspace(0, 1, 12, dtype=np.float32), (6, 8, 1))
    for row in range(24):
        store.write(f"s{row}", volume[None], np.eye(4), source_sha256="a", plan_sha256="b", code_sha256="c")
    return store
