"""The config of a cohort and experiments that the tests of pages invent."""

from pathlib import Path

import pytest

from pipeline.config import Config


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
