"""A trained run in Python: from the file of a scan to class probabilities, decision and input guard."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from pipeline.config import Columns
from pipeline.core.paths import TrainingPaths
from pipeline.evaluation.decision_rule import FittedOnValidation
from pipeline.evaluation.operating_point import MOST_PROBABLE
from pipeline.imaging.io.discover import ScanFiles
from pipeline.imaging.preprocessing import PreparedScan
from pipeline.imaging.reference_range import ScanMeasures
from pipeline.inference.ensemble import Ensemble
from pipeline.inference.input_guard import InputGuard, Verdict, load_guard
from pipeline.inference.predictor import Prediction, Predictor, Volume


class ScanClassifier(Protocol):
    """A `Predictor`, or an `Ensemble` of several."""

    columns: Columns
    """Columns of the label table that it was trained with."""
    classes: list[str]
    fitted: FittedOnValidation | None
    """Operating point and conformal sets; None for one training alone."""
    trainings: list[Predictor]

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
    """The decision at the operating point that evaluation froze; None without one."""
    conformal_set: tuple[str, ...] | None
    """Classes that cannot be excluded: one is an answer, any other number an abstention; None without fitted sets."""
    entropy: float
    """Of the probabilities, in nats; with several labels the mean over labels."""
    disagreement: float | None
    """Largest standard deviation of a class's probability over trainings or members of a stack; None for one."""
    guard: Verdict
    """Whether the scan is like those that the run was trained on."""
    warnings: tuple[str, ...]
    """What a reader should know of the scan; docs/scan_problems.md explains the codes."""


@dataclass(frozen=True)
class TrainedRun:
    """Predicts raw scans with one training, or with the calibrated mean of several."""

    classifier: ScanClassifier
    guard: InputGuard

    @classmethod
    def load(cls, run: Path, *, own_transforms: frozenset[str] = frozenset()) -> Self:
        classifier = load_classifier(run, own_transforms=own_transforms)
        return cls(classifier, load_guard(classifier.trainings[0]))

    @property
    def classes(self) -> list[str]:
        return self.classifier.classes

    def predict(self, scan: str | Path | Sequence[str | Path]) -> ScanPrediction:
        """Predict one scan: a NIfTI file, a folder with one DICOM series, or one of these per channel.

        Raises `ValueError` or `OSError` with the file and the reason if the scan cannot be used.
        """
        channels = (scan,) if isinstance(scan, str | Path) else scan
        prepared = self.classifier.prepare(ScanFiles(tuple(Path(file) for file in channels)))
        return self.predict_prepared(prepared.array, prepared.measures, prepared.warnings)

    def predict_all(self, scans: Iterable[str | Path | Sequence[str | Path]]) -> Iterator[ScanPrediction]:
        """Predict scans one by one, as `predict` does."""
        return map(self.predict, scans)

    def predict_array(self, voxels: NDArray, affine: NDArray) -> ScanPrediction:
        """Predict voxels (X, Y, Z) in the unit of a file, with the affine from their index to RAS millimeters.

        The same checks and steps as for a file, since it is written to a temporary one.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "array.nii"
            nibabel.save(nibabel.Nifti1Image(np.asarray(voxels), affine, dtype=np.asarray(voxels).dtype), path)
            return self.predict(path)

    def predict_prepared(
        self, volume: Volume, measures: ScanMeasures | None, warnings: tuple[str, ...] = ()
    ) -> ScanPrediction:
        """Predict a preprocessed volume (C, D, H, W), whose file had `measures`."""
        found = self.classifier.predict(volume)
        return ScanPrediction(
            probabilities=dict(zip(self.classes, found.probs.tolist(), strict=True)),
            predicted=decide(self.classifier, found.probs),
            conformal_set=conformal_set(self.classifier, found.probs),
            entropy=entropy(found.probs, self.classifier.trainings[0].task),
            disagreement=float(np.std(found.members, axis=0).max()) if len(found.members) > 1 else None,
            guard=self.guard.judge(measures, volume, found.embeddings),
            warnings=warnings,
        )


def decide(trained: ScanClassifier, probs: NDArray[np.float64]) -> str | None:
    """Of two classes the one on its side of the threshold, of several the most probable; None without a rule."""
    if trained.fitted is None:
        return None
    point = trained.fitted.point
    if point.threshold is not None:
        return trained.classes[int(probs[1] >= point.threshold)]
    return trained.classes[int(probs.argmax())] if point.rule == MOST_PROBABLE else None


def conformal_set(trained: ScanClassifier, probs: NDArray[np.float64]) -> tuple[str, ...] | None:
    """The classes whose probability reaches the limit that evaluation fitted; None without limits."""
    limits = trained.fitted.conformal.limits if trained.fitted else {}
    if not limits:
        return None
    return tuple(name for name, prob in zip(trained.classes, probs, strict=True) if prob >= limits[name])


def entropy(probs: NDArray[np.float64], task: str) -> float:
    """In nats, of one distribution over the classes; the mean of one for each label, if a scan may have several."""
    if task == "multilabel":
        return float(np.mean(entr(probs) + entr(1 - probs)))
    return float(entr(probs).sum())
