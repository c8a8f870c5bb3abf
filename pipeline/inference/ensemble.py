"""The folds of a run as one classifier: each fold's probabilities are calibrated, then averaged.

Axes: C channels, D H W depth height width, K classes.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.evaluation.fitted.calibrators import Calibration
from pipeline.evaluation.fitted.frozen import Frozen
from pipeline.imaging.io.discover import ScanFiles
from pipeline.imaging.preprocessing import Prepared
from pipeline.inference.external import TrainedFolds
from pipeline.inference.trained import Prediction, TrainedRun, Volume

log = logging.getLogger(__name__)
LEVEL = "scan"
"""New scans come without patients."""


class Ensemble:
    """Several trained folds, with what the evaluate stage froze on their validation patients."""

    def __init__(self, folds: Mapping[str, TrainedRun], frozen: Frozen) -> None:
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
        trained = TrainedFolds.load(run)
        return cls({f"fold-{fold}": model for fold, model in trained.folds.items()}, trained.read_frozen()[LEVEL])

    def prepare(self, scan: ScanFiles | Path) -> Prepared:
        """A raw scan as the folds see it, which share one plan: loading them made sure."""
        return self.prepare_with.prepare(scan)

    def predict(self, volume: Volume) -> Prediction:
        """A prepared volume (C, D, H, W) -> the mean of the folds' calibrated probabilities (K,), no embeddings."""
        calibrated = [
            self.calibrations[name].apply(model.predict(volume).probs[None])[0] for name, model in self.folds.items()
        ]
        return Prediction(np.mean(calibrated, axis=0), embeddings=())


def usable(folds: Mapping[str, TrainedRun], calibrations: Mapping[str, Calibration]) -> dict[str, Calibration]:
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


def describe(folds: Mapping[str, TrainedRun], calibrations: Mapping[str, Calibration], frozen: Frozen) -> str:
    """What the probabilities are, and how far the threshold can be trusted."""
    fitted = next(iter(calibrations.values()))
    kind = f"as predicted ({fitted.reason})" if fitted.method == "none" else "calibrated"
    point = frozen.point
    if point.threshold is None:
        return f"mean of {len(folds)} folds' probabilities, {kind}; no threshold: {point.reason}"
    note = f" ({point.reason})" if point.reason else ""
    return f"mean of {len(folds)} folds' probabilities, {kind}; called from {point.threshold:.3f} on{note}"
