"""A trained run, frozen, on the scans of another cohort."""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.progress import track

from pipeline.cohorts.label_table import read_cohort
from pipeline.config import Config
from pipeline.core.columns import SPLIT, TEST
from pipeline.core.paths import CohortPaths, FoldPaths, RunPaths
from pipeline.evaluation.fitted.frozen import Frozen
from pipeline.evaluation.writing import read_checkpoints, read_frozen
from pipeline.imaging.io.discover import files_of
from pipeline.inference.tables import prediction_table
from pipeline.inference.trained import TrainedRun
from pipeline.store.build import plan_hash

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
        folds = {fold: TrainedRun.load(path) for fold, path in found.items()}
        refuse_odd(folds, "plan", lambda trained: plan_hash(trained.plan))
        refuse_odd(folds, "order of classes", lambda trained: tuple(trained.classes))
        return cls(RunPaths(folders[0].parent), folds)

    @property
    def config(self) -> Config:
        """What the first fold was trained with."""
        return next(iter(self.folds.values())).config

    def read_frozen(self) -> dict[str, Frozen]:
        """What the evaluate stage froze, by level; ValueError where a fold was trained again since."""
        frozen, evaluated = read_frozen(self.paths), read_checkpoints(self.paths)
        for fold, trained in self.folds.items():
            if evaluated.get(f"{PREFIX}{fold}", trained.sha256) != trained.sha256:
                raise ValueError(
                    f"{trained.path}: not the checkpoint that {self.paths.checkpoints} says was evaluated, so its "
                    "calibration and threshold are another's; run 'python -m pipeline.predict' and "
                    "'python -m pipeline.evaluate' again."
                )
        return frozen

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


def refuse_odd(folds: Mapping[str, TrainedRun], what: str, of: Callable[[TrainedRun], Hashable]) -> None:
    """Folds whose probabilities stand side by side must see the same scans and name the same classes."""
    values = {fold: of(trained) for fold, trained in folds.items()}
    usual = Counter(values.values()).most_common(1)[0][0]
    for fold, value in values.items():
        if value != usual:
            raise ValueError(
                f"{folds[fold].path}: its {what} is not that of the other folds of this run; train it again as they "
                "were, or take it out of the run's folder."
            )
