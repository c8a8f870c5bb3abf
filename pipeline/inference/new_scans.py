"""Scans that no cohort knows, from their raw files."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from rich.progress import track

from pipeline.artifacts import PATH, PROB_PREFIX
from pipeline.files import write_csv
from pipeline.inference.trained import TrainedRun

log = logging.getLogger(__name__)
SUFFIXES = (".nii", ".nii.gz")


def predict_files(trained: TrainedRun, scans: list[Path], out: Path) -> None:
    """Write `path, prob_<class>…`; scans that cannot be read are listed in one error at the end, the others kept."""
    files = list(find_scans(scans))
    rows, problems = [], []
    for file in track(files, description="predict"):
        try:
            probs = trained.predict(trained.prepare(file).array).probs
        except (ValueError, OSError) as error:
            problems.append(str(error))
            continue
        rows.append(
            {PATH: str(file)} | {f"{PROB_PREFIX}{name}": p for name, p in zip(trained.classes, probs, strict=True)}
        )
    write_csv(out, pd.DataFrame(rows, columns=[PATH, *(f"{PROB_PREFIX}{name}" for name in trained.classes)]))
    log.info("%s: %d scans", out, len(rows))
    if problems:
        raise ValueError("\n".join([f"{len(problems)} of {len(files)} scans could not be predicted:", *problems]))


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
