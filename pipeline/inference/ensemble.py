"""The trainings of an experiment together: an ensemble for new scans, predictions on another cohort."""

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.cohorts.label_table import read_cohort
from pipeline.config import Config
from pipeline.core.columns import SPLIT, TEST
from pipeline.core.paths import CohortPaths, RunPaths, TrainingKey, TrainingPaths
from pipeline.core.progress import show_progress
from pipeline.evaluation.calibration import Calibration
from pipeline.evaluation.decision_rule import FittedOnValidation
from pipeline.evaluation.outputs import read_checkpoints, read_fitted
from pipeline.imaging.io.discover import ScanFiles, scan_files
from pipeline.imaging.preprocessing import PreparedScan
from pipeline.inference.fold_predictions import prediction_table
from pipeline.inference.predictor import Prediction, Predictor, Volume
from pipeline.store.build import plan_hash

log = logging.getLogger(__name__)
LEVEL = "scan"
"""Level of the fitted calibration and threshold: patients of new scans are unknown."""


class Ensemble:
    """Several trainings, with the calibration and threshold that evaluation fitted on validation patients."""

    def __init__(self, folds: Mapping[str, Predictor], fitted: FittedOnValidation) -> None:
        self.folds = folds
        self.calibrations = common_calibrations(folds, fitted.calibrations)
        self.first = next(iter(folds.values()))
        self.classes = self.first.classes
        self.columns = self.first.columns
        self.fitted = fitted
        log.info("%s", format_ensemble(folds, self.calibrations, fitted))

    @classmethod
    def load(cls, run: Path, *, own_transforms: frozenset[str] = frozenset()) -> "Ensemble":
        """All trainings of `runs/<cohort>/<experiment>`, which must have been evaluated."""
        trained = CrossValidatedRun.load(run, own_transforms=own_transforms)
        return cls({key.name: model for key, model in trained.folds.items()}, trained.read_fitted()[LEVEL])

    @property
    def trainings(self) -> list[Predictor]:
        return list(self.folds.values())

    def prepare(self, scan: ScanFiles | Path) -> PreparedScan:
        """Preprocess a raw scan, for all trainings alike: `CrossValidatedRun.load` checks that they share one plan."""
        return self.first.prepare(scan)

    def predict(self, volume: Volume) -> Prediction:
        """A preprocessed volume (C, D, H, W) -> the mean calibrated probabilities (K,) and those of each training.

        Embeddings are those of the first training; of one training alone, the members of its stack.
        """
        predictions = {name: model.predict(volume) for name, model in self.folds.items()}
        calibrated = [self.calibrations[name].apply(found.probs[None])[0] for name, found in predictions.items()]
        first = next(iter(predictions.values()))
        members = tuple(calibrated) if len(calibrated) > 1 else first.members
        return Prediction(np.mean(calibrated, axis=0), first.embeddings, members)


def common_calibrations(
    folds: Mapping[str, Predictor], calibrations: Mapping[str, Calibration]
) -> dict[str, Calibration]:
    """The calibration of each training, or no calibration if one has none: the two kinds cannot be averaged.

    One training alone is not calibrated, because its threshold was chosen on uncalibrated probabilities.
    """
    missing = [name for name in folds if name not in calibrations]
    if missing:
        raise ValueError(
            f"calibration.json: no calibration of {', '.join(missing)}, got {', '.join(calibrations) or 'none'}; "
            "run 'python -m pipeline.evaluate' with all folds of the run first."
        )
    own = {name: calibrations[name] for name in folds}
    if len(own) == 1:
        return {name: Calibration("none", {}, fitted.num_patients, "one fold alone") for name, fitted in own.items()}
    plain = next((fitted for fitted in own.values() if fitted.method == "none"), None)
    return dict.fromkeys(own, plain) if plain else own


def format_ensemble(
    folds: Mapping[str, Predictor], calibrations: Mapping[str, Calibration], fitted: FittedOnValidation
) -> str:
    """How the probabilities are computed, and how reliable the threshold is."""
    first, point = next(iter(calibrations.values())), fitted.point
    kind = f"as predicted ({first.reason})" if first.method == "none" else "calibrated"
    if point.threshold is None:
        return f"mean of {len(folds)} trainings' probabilities, {kind}; no threshold: {point.reason}"
    note = f" ({point.reason})" if point.reason else ""
    return f"mean of {len(folds)} trainings' probabilities, {kind}; threshold {point.threshold:.3f}{note}"


@dataclass(frozen=True)
class CrossValidatedRun:
    """The trainings of one experiment: its folds and seeds."""

    paths: RunPaths
    folds: dict[TrainingKey, Predictor]
    """In the order of folds and seeds."""

    @classmethod
    def load(cls, run: Path, *, own_transforms: frozenset[str] = frozenset()) -> "CrossValidatedRun":
        """All trainings in the folder of a run, or the one whose folder is given."""
        is_single = TrainingPaths(run).best.is_file()
        trainings = [TrainingPaths(run)] if is_single else RunPaths(run).find_trainings()
        found = [training.best for training in trainings if training.best.is_file()]
        loaded = [Predictor.load(best, own_transforms=own_transforms) for best in found]
        if not loaded:
            raise FileNotFoundError(f"{run}: no checkpoint found, expected fold-<k>-seed-<s>/best.ckpt; train first.")
        folds = by_training(loaded)
        check_consistent(folds, "experiment", lambda trained: (trained.config.name, trained.config.cohort.name))
        check_consistent(folds, "plan", lambda trained: plan_hash(trained.plan))
        check_consistent(folds, "order of classes", lambda trained: tuple(trained.classes))
        return cls(RunPaths(run.parent if is_single else run), folds)

    @property
    def config(self) -> Config:
        """The config of the first training."""
        return next(iter(self.folds.values())).config

    def read_fitted(self) -> dict[str, FittedOnValidation]:
        """What evaluation fitted on validation, by level; ValueError if a fold was trained again after it."""
        fitted, evaluated = read_fitted(self.paths.evaluation), read_checkpoints(self.paths.evaluation)
        for key, trained in self.folds.items():
            if evaluated.get(key.name, trained.sha256) != trained.sha256:
                raise ValueError(
                    f"{trained.path}: not the evaluated checkpoint of {self.paths.evaluation.checkpoints}, so that "
                    "calibration and threshold do not belong to it; run 'python -m pipeline.predict' and "
                    "'python -m pipeline.evaluate' again."
                )
        return fitted

    def predict_cohort(self, cohort: CohortPaths) -> pd.DataFrame:
        """Predict the raw file of every scan of cohort.csv with every training, as rows of one test set."""
        rows = read_cohort(cohort.cohort).assign(**{SPLIT: TEST})
        tables = []
        for key, trained in self.folds.items():
            scans = [scan_files(row, cohort.raw) for row in rows.to_dict("records")]
            volumes = (trained.prepare(scan).array for scan in show_progress(scans, len(scans), f"predict {key}"))
            predictions = list(trained.predict_all(volumes))
            tables.append(prediction_table(rows, predictions, classes=trained.classes, key=key))
        return pd.concat(tables, ignore_index=True)


def by_training(loaded: Iterable[Predictor]) -> dict[TrainingKey, Predictor]:
    """Each checkpoint by the training that its config names; two of the same training are an error."""
    folds: dict[TrainingKey, Predictor] = {}
    for trained in sorted(loaded, key=lambda trained: trained.config.training_key):
        key = trained.config.training_key
        if key in folds:
            raise ValueError(
                f"{trained.path}: the checkpoint of {key}, and so is {folds[key].path}, expected one of each training; "
                "move one of them out of the folder of the run."
            )
        folds[key] = trained
    return folds


def check_consistent(
    folds: Mapping[TrainingKey, Predictor], what: str, value_of: Callable[[Predictor], Hashable]
) -> None:
    """ValueError if a training differs from the others, so that its probabilities cannot be compared or averaged."""
    values = {key: value_of(trained) for key, trained in folds.items()}
    usual = Counter(values.values()).most_common(1)[0][0]
    for key, value in values.items():
        if value != usual:
            raise ValueError(
                f"{folds[key].path}: its {what} differs from that of the other trainings of this run; train it again "
                "as they were, or move it out of the folder of the run."
            )
