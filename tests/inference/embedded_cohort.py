"""A cohort on disk that can be embedded in a second: preprocessed scans, splits, plan and classes."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config import Config
from pipeline.core.folds import write_splits
from pipeline.core.io import write_csv, write_json, write_yaml
from pipeline.core.paths import CohortPaths
from pipeline.store.build import plan_hash
from pipeline.store.store import Store
from tests.training.small import PLAN, SIZE

MODEL = {"name": "random_conv3d", "options": {"num_kernels": 4}, "freeze": True}


class EmbeddedCohort:
    """Twenty patients with a scan or two; the scans of `light` ones are brighter in one half, four patients test."""

    def __init__(self, folder: Path, plan: str = plan_hash(PLAN)) -> None:
        self.config = Config(
            name="conv",
            root=folder,
            cohort={"name": "blocks", "source": {"kind": "phantom"}, "modality": "other", "laterality": "relevant"},
            model=MODEL,
        )
        self.paths = CohortPaths(folder / "data" / "blocks")
        self.splits = pd.DataFrame(
            [self.row(patient, scan) for patient in range(20) for scan in range(1 + patient % 2)]
        )
        self.write_scans(plan)
        write_splits(self.paths.splits, self.splits)
        self.cohort = self.splits[["scan_id", "patient_id", "label"]].assign(path="x", site="A")
        write_csv(self.paths.cohort, self.cohort)
        write_json(self.paths.ingest, {"classes": ["dark", "light"], "num_scans": len(self.splits), "task": "binary"})
        write_yaml(self.paths.plan, PLAN.model_dump(mode="json"))

    @staticmethod
    def row(patient: int, scan: int) -> dict[str, object]:
        tests = patient >= 16
        return {
            "scan_id": f"00{patient}_{scan}",
            "patient_id": f"00{patient}",
            "label": "light" if patient // 2 % 2 else "dark",
            "split": "test" if tests else "development",
            "fold": pd.NA if tests else patient % 2,
        }

    def write_scans(self, plan: str) -> None:
        store, rng = Store(self.paths.preprocessed), np.random.default_rng(0)
        for scan_id, label in self.splits[["scan_id", "label"]].to_numpy():
            volume = rng.normal(size=SIZE).astype(np.float32)
            volume[:, 4:] += label == "light"
            store.write(scan_id, volume, np.eye(4), source_sha256="a", plan_sha256=plan, code_sha256="c")
