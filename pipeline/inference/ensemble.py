"""The folds of an experiment as one classifier, also on another cohort."""

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track

from pipeline.cohorts.label_table import read_cohort
from pipeline.config import Config
from pipeline.core.columns import SPLIT, TEST
from pipeline.core.paths import CohortPaths, RunPaths, TrainingKey, TrainingPaths
from pipeline.evaluation.calibration import Calibration
from pipeline.evaluation.decision_rule import Frozen
from pipeline.evaluation.outputs import read_checkpoints, read_fitted
from pipeline.imaging.io.discover import ScanFiles, files_of
from pipeline.imaging.preprocessing import Prepared
from pipeline.inference.predictor import Prediction, Predictor, Volume, prediction_table
from pipeline.store.build import plan_hash

log = logging.getLogger(__name__)
LEVEL = "scan"
"""New scans come without patients."""


class Ensemble:
    """Several trained folds, with what the evaluate stage froze on their validation patients."""

    def __init__(self, folds: Mapping[str, Predictor], frozen: Frozen) -> None:
        self.folds = folds
        self.calibrations = usable(folds, frozen.calibrations)
        first = next(iter(folds.values()))
        self.classes = first.classes
        self.columns = first.columns
        self.prepare_with = first
        self.threshold = frozen.point.threshold
        log.info("%s", describe(folds, self.calibrations, frozen))

    @classmethod
    def load(cls, run: Path) -> "Ensemble":
        """All folds of `runs/<cohort>/<experiment>`, which has been evaluated."""
        trained = CrossValidatedRun.load(run)
        return cls({key.name: model for key, model in trained.folds.items()}, trained.read_fitted()[LEVEL])

    def prepare(self, scan: ScanFiles | Path) -> Prepared:
        """A raw scan as the folds see it, which share one plan: loading them made sure."""
        return self.prepare_with.prepare(scan)

    def predict(self, volume: Volume) -> Prediction:
        """A prepared volume (C, D, H, W) -> the mean of the folds' calibrated probabilities (K,), no embeddings."""
        calibrated = [
            self.calibrations[name].apply(model.predict(volume).probs[None])[0] for name, model in self.folds.items()
        ]
        return Prediction(np.mean(calibrated, axis=0), embeddings=())


def usable(folds: Mapping[str, Predictor], calibrations: Mapping[str, Calibration]) -> dict[str, Calibration]:
    """The calibration of each fold, or of none where one has none: a mean of both kinds would mean nothing.

    One fold alone is used as it predicts, for that is what its threshold was chosen on.
    """
    missing = [name for name in folds if name not in calibrations]
    if missing:
        raise ValueError(
            f"calibration.json: nothing was frozen for {', '.join(missing)}, got {', '.join(calibrations) or 'none'}; "
            "run 'python -m pipeline.evaluate' with all folds of the run first."
        )
    own = {name: calibrations[name] for name in folds}
    if len(own) == 1:
        return {name: Calibration("none", {}, fitted.num_patients, "one fold alone") for name, fitted in own.items()}
    plain = next((fitted for fitted in own.values() if fitted.method == "none"), None)
    return dict.fromkeys(own, plain) if plain else own


def describe(folds: Mapping[str, Predictor], calibrations: Mapping[str, Calibration], frozen: Frozen) -> str:
    """What the probabilities are, and how far the threshold can be trusted."""
    fitted = next(iter(calibrations.values()))
    kind = f"as predicted ({fitted.reason})" if fitted.method == "none" else "calibrated"
    point = frozen.point
    if point.threshold is None:
        return f"mean of {len(folds)} folds' probabilities, {kind}; no threshold: {point.reason}"
    note = f" ({point.reason})" if point.reason else ""
    return f"mean of {len(folds)} folds' probabilities, {kind}; called from {point.threshold:.3f} on{note}"


@dataclass(frozen=True)
class CrossValidatedRun:
    """The folds of one experiment."""

    paths: RunPaths
    folds: dict[TrainingKey, Predictor]
    """In the order of folds and seeds."""

    @classmethod
    def load(cls, run: Path) -> "CrossValidatedRun":
        """All folds of a run's folder, or the one whose folder is given."""
        alone = TrainingPaths(run).best.is_file()
        trainings = [TrainingPaths(run)] if alone else RunPaths(run).find_trainings()
        loaded = [Predictor.load(training.best) for training in trainings if training.best.is_file()]
        if not loaded:
            raise FileNotFoundError(f"{run}: no trained fold here, expected fold-<k>-seed-<s>/best.ckpt; train first.")
        folds = by_training(loaded)
        refuse_odd(folds, "plan", lambda trained: plan_hash(trained.plan))
        refuse_odd(folds, "order of classes", lambda trained: tuple(trained.classes))
        return cls(RunPaths(run.parent if alone else run), folds)

    @property
    def config(self) -> Config:
        """What the first fold was trained with."""
        return next(iter(self.folds.values())).config

    def read_fitted(self) -> dict[str, Frozen]:
        """What the evaluate stage froze, by level; ValueError where a fold was trained again since."""
        frozen, evaluated = read_fitted(self.paths.evaluation), read_checkpoints(self.paths.evaluation)
        for key, trained in self.folds.items():
            if evaluated.get(key.name, trained.sha256) != trained.sha256:
                raise ValueError(
                    f"{trained.path}: not the checkpoint that {self.paths.evaluation.checkpoints} says was evaluated, so its "
                    "calibration and threshold are another's; run 'python -m pipeline.predict' and "
                    "'python -m pipeline.evaluate' again."
                )
        return frozen

    def predict_cohort(self, cohort: CohortPaths) -> pd.DataFrame:
        """Every scan of cohort.csv by every fold, straight from the raw files, as rows of one test set."""
        rows = read_cohort(cohort.cohort).assign(**{SPLIT: TEST})
        tables = []
        for key, trained in self.folds.items():
            scans = [files_of(row, cohort.raw) for row in rows.to_dict("records")]
            volumes = (trained.prepare(scan).array for scan in track(scans, f"predict, {key}"))
            predictions = list(trained.predict_all(volumes))
            tables.append(prediction_table(rows, predictions, classes=trained.classes, key=key))
        return pd.concat(tables, ignore_index=True)


def by_training(loaded: Iterable[Predictor]) -> dict[TrainingKey, Predictor]:
    """Each checkpoint by what its own config says it is; two of the same training are an error."""
    folds: dict[TrainingKey, Predictor] = {}
    for trained in sorted(loaded, key=lambda trained: trained.config.training_key):
        key = trained.config.training_key
        if key in folds:
            raise ValueError(
                f"{trained.path}: it is {key}, as {folds[key].path} is, expected one checkpoint of each training; move "
                "one of them out of the run's folder."
            )
        folds[key] = trained
    return folds


def refuse_odd(folds: Mapping[TrainingKey, Predictor], what: str, of: Callable[[Predictor], Hashable]) -> None:
    """Folds whose probabilities stand side by side must see the same scans and name the same classes."""
    values = {fold: of(trained) for fold, trained in folds.items()}
    usual = Counter(values.values()).most_common(1)[0][0]
    for fold, value in values.items():
        if value != usual:
            raise ValueError(
                f"{folds[fold].path}: its {what} is not that of the other folds of this run; train it again as they "
                "were, or take it out of the run's folder."
            )
