"""A trained run in Python: from the file of a scan to class probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Columns
from pipeline.core.paths import TrainingPaths
from pipeline.imaging.io.discover import ScanFiles
from pipeline.imaging.preprocessing import PreparedScan
from pipeline.inference.ensemble import Ensemble
from pipeline.inference.predictor import Prediction, Predictor, Volume


class ScanClassifier(Protocol):
    """A `Predictor`, or an `Ensemble` of several."""

    columns: Columns
    """Columns of the label table that it was trained with."""
    classes: list[str]
    threshold: float | None
    """Smallest probability of the second class at which it is predicted; None if evaluation chose none."""

    def prepare(self, scan: ScanFiles) -> PreparedScan: ...

    def predict(self, volume: Volume) -> Prediction: ...


def load_classifier(run: Path, *, own_transforms: frozenset[str] = frozenset()) -> ScanClassifier:
    """The ensemble of `runs/<cohort>/<experiment>`; or one training, by its folder or its checkpoint."""
    checkpoint = TrainingPaths(run).best if run.is_dir() else run
    if checkpoint.is_file():
        return Predictor.load(checkpoint, own_transforms=own_transforms)
    return Ensemble.load(run, own_transforms=own_transforms)


@dataclass(frozen=True)
class ScanPrediction:
    """What a run predicts for one scan."""

    probabilities: dict[str, float]
    """By class."""
    predicted: str | None
    """The class of two on its side of the threshold that evaluation chose on validation; None without one."""
    warnings: tuple[str, ...]
    """What a reader should know of the scan; docs/scan_problems.md explains the codes."""


@dataclass(frozen=True)
class TrainedRun:
    """Predicts raw scans with one training, or with the calibrated mean of several."""

    classifier: ScanClassifier

    @classmethod
    def load(cls, run: Path, *, own_transforms: frozenset[str] = frozenset()) -> Self:
        return cls(load_classifier(run, own_transforms=own_transforms))

    @property
    def classes(self) -> list[str]:
        return self.classifier.classes

    def predict(self, scan: str | Path | Sequence[str | Path]) -> ScanPrediction:
        """Predict one scan: a NIfTI file, a folder with one DICOM series, or one of these per channel.

        Raises `ValueError` or `OSError` with the file and the reason if the scan cannot be used.
        """
        channels = (scan,) if isinstance(scan, str | Path) else scan
        prepared = self.classifier.prepare(ScanFiles(tuple(Path(file) for file in channels)))
        probs = self.classifier.predict(prepared.array).probs
        named = dict(zip(self.classes, probs.tolist(), strict=True))
        return ScanPrediction(named, predicted_class(self.classifier, probs), prepared.warnings)


def predicted_class(trained: ScanClassifier, probs: NDArray[np.float64]) -> str | None:
    """The class of two on its side of the threshold; None without one."""
    return None if trained.threshold is None else trained.classes[int(probs[1] >= trained.threshold)]
