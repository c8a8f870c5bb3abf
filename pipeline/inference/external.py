"""A trained run, frozen, on the scans of another cohort."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.progress import track

from pipeline.artifacts import SPLIT, TEST, CohortPaths, FoldPaths, RunPaths
from pipeline.cohorts.cohort_table import read_cohort
from pipeline.config import Config
from pipeline.inference.tables import prediction_table
from pipeline.inference.trained import TrainedRun
from pipeline.scans.scan_files import files_of

PREFIX = "fold-"


@dataclass(frozen=True)
class TrainedFolds:
    """The folds of one experiment."""

    paths: RunPaths
    folds: dict[str, TrainedRun]
    """By the name of the fold, such as 0 or 0-seed-1."""

    @classmethod
    def load(cls, run: Path) -> "TrainedFolds":
        """All folds of a run's folder, or the one whose folder is given."""
        folders = [run] if run.name.startswith(PREFIX) else sorted(run.glob(f"{PREFIX}*"))
        bests = {folder.name.removeprefix(PREFIX): FoldPaths(folder).best for folder in folders}
        found = {fold: path for fold, path in bests.items() if path.is_file()}
        if not found:
            raise FileNotFoundError(f"{run}: no trained fold here, expected {PREFIX}<k>/best.ckpt; train first.")
        return cls(RunPaths(folders[0].parent), {fold: TrainedRun.load(path) for fold, path in found.items()})

    @property
    def config(self) -> Config:
        """What the first fold was trained with."""
        return next(iter(self.folds.values())).config

    def predict_cohort(self, cohort: CohortPaths) -> pd.DataFrame:
        """Every scan of cohort.csv by every fold, straight from the raw files, as rows of one test set."""
        rows = read_cohort(cohort.cohort).assign(**{SPLIT: TEST})
        tables = []
        for fold, trained in self.folds.items():
            scans = [files_of(row, cohort.raw) for row in rows.to_dict("records")]
            volumes = (trained.prepare(scan).array for scan in track(scans, f"predict, fold {fold}"))
            predictions = list(trained.predict_all(volumes))
            tables.append(prediction_table(rows, predictions, classes=trained.classes, fold=fold))
        return pd.concat(tables, ignore_index=True)
