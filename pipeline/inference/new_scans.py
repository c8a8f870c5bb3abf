"""Scans that no cohort knows, from their raw files."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.progress import track

from pipeline.artifacts import PATH, PROB_PREFIX
from pipeline.files import write_csv
from pipeline.inference.trained import Prediction, Volume
from pipeline.scans.preprocessing import Prepared

log = logging.getLogger(__name__)
SUFFIXES = (".nii", ".nii.gz")
CALLED = "called"


class ScanClassifier(Protocol):
    """A trained fold, or several together."""

    classes: list[str]
    threshold: float | None
    """From which probability of the second class it is called; None where nothing was chosen."""

    def prepare(self, path: Path) -> Prepared: ...

    def predict(self, volume: Volume) -> Prediction: ...


def predict_files(trained: ScanClassifier, scans: list[Path], out: Path) -> None:
    """Write `path, prob_<class>…`, and `called` where a threshold was chosen.

    Scans that cannot be read are listed in one error at the end, the others kept.
    """
    files = list(find_scans(scans))
    rows, problems = [], []
    for file in track(files, description="predict"):
        try:
            probs = trained.predict(trained.prepare(file).array).probs
        except (ValueError, OSError) as error:
            problems.append(str(error))
            continue
        rows.append([str(file), *probs, *called(trained, probs)])
    columns = [PATH, *(f"{PROB_PREFIX}{name}" for name in trained.classes)]
    write_csv(out, pd.DataFrame(rows, columns=columns + ([CALLED] if trained.threshold is not None else [])))
    log.info("%s: %d scans", out, len(rows))
    if problems:
        raise ValueError("\n".join([f"{len(problems)} of {len(files)} scans could not be predicted:", *problems]))


def called(trained: ScanClassifier, probs: NDArray[np.float64]) -> list[str]:
    """The class of two that the threshold calls; nothing without one."""
    return [] if trained.threshold is None else [trained.classes[int(probs[1] >= trained.threshold)]]


def find_scans(places: list[Path]) -> Iterator[Path]:
    """The files themselves, and every NIfTI file below folders, sorted."""
    for place in places:
        if place.is_dir():
            found = sorted(file for file in place.rglob("*") if file.name.lower().endswith(SUFFIXES))
            if not found:
                raise FileNotFoundError(f"{place}: no NIfTI files here, expected *.nii or *.nii.gz.")
            yield from found
        elif place.exists():
            yield place
        else:
            raise FileNotFoundError(f"{place}: no such file or folder.")
