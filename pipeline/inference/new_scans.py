"""Predict raw scans that no cohort knows, and the scans of a fold."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.progress import track

from pipeline.cohorts.label_table import file_columns, read_cohort, read_table, select_files, with_hint
from pipeline.config import Columns
from pipeline.core.columns import PATH, PROB_PREFIX, SCAN_ID, SPLIT, TEST, TRAIN, VAL
from pipeline.core.folds import read_splits, rows_of_fold
from pipeline.core.io import write_csv, write_json
from pipeline.core.paths import CohortPaths, RunPaths, TrainingKey
from pipeline.imaging.io.discover import ScanFiles, files_of, find_scans
from pipeline.imaging.preprocessing import Prepared
from pipeline.inference.predictor import Prediction, Predictor, Volume, prediction_table, write_embeddings
from pipeline.store.store import Store
from pipeline.training.errors import is_out_of_memory

log = logging.getLogger(__name__)
TABLES = (".csv", ".tsv", ".parquet")
CALLED = "called"


class ScanClassifier(Protocol):
    """A trained fold, or several together."""

    columns: Columns
    """Of the table that it was trained from."""
    classes: list[str]
    threshold: float | None
    """From which probability of the second class it is called; None where nothing was chosen."""

    def prepare(self, scan: ScanFiles) -> Prepared: ...

    def predict(self, volume: Volume) -> Prediction: ...


def predict_files(trained: ScanClassifier, scans: list[Path], out: Path) -> None:
    """Write `path, prob_<class>…`, and `called` where a threshold was chosen.

    Scans that cannot be read, or are too much for the memory, are listed in one error at the end, the others kept.
    """
    files = list(find_files(scans, trained.columns))
    rows, problems = [], []
    for name, scan in track(files, description="predict"):
        try:
            probs = trained.predict(trained.prepare(scan).array).probs
        except (ValueError, OSError) as error:
            problems.append(str(error))
            continue
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            problems.append(f"{name}: out of memory; predict it on its own, or on a machine that has more.")
            continue
        rows.append([name, *probs, *called(trained, probs)])
    columns = [PATH, *(f"{PROB_PREFIX}{label}" for label in trained.classes)]
    write_csv(out, pd.DataFrame(rows, columns=columns + ([CALLED] if trained.threshold is not None else [])))
    log.info("%s: %d scans", out, len(rows))
    if problems:
        raise ValueError("\n".join([f"{len(problems)} of {len(files)} scans could not be predicted:", *problems]))


def called(trained: ScanClassifier, probs: NDArray[np.float64]) -> list[str]:
    """The class of two that the threshold calls; nothing without one."""
    return [] if trained.threshold is None else [trained.classes[int(probs[1] >= trained.threshold)]]


def find_files(places: list[Path], columns: Columns) -> Iterator[tuple[str, ScanFiles]]:
    """Each scan by name: files and DICOM folders themselves, all below other folders, and the rows of tables."""
    for place in places:
        if not place.exists():
            raise FileNotFoundError(f"{place}: no such file or folder.")
        if place.suffix.lower() in TABLES:
            yield from rows_of(place, columns)
            continue
        found = list(find_scans(place))
        if not found:
            raise FileNotFoundError(f"{place}: no scans here, expected .nii, .nii.gz, .hdr/.img or DICOM files.")
        yield from ((str(path), ScanFiles((path,))) for path in found)


def rows_of(path: Path, columns: Columns) -> Iterator[tuple[str, ScanFiles]]:
    """The scans of a table with the columns of files that the training's table had, relative to its own folder."""
    table = read_table(path)
    for name in file_columns(columns):
        if name not in table.columns:
            raise ValueError(f"{path}: no column {with_hint(name, table.columns)} among {', '.join(table.columns)}.")
    for row in pd.DataFrame(select_files(table, columns)).to_dict("records"):
        yield row[PATH], files_of(row, path.parent)


TOLERANCE = 1e-6


def predict_fold(trained: Predictor, cohort: CohortPaths, run: RunPaths, key: TrainingKey) -> None:
    """Write predictions and embeddings of the scans that this training did not train on."""
    store = Store(cohort.preprocessed)
    rows = rows_of_fold(read_splits(cohort.splits), key.fold)
    prove_same_from_raw(trained, store, cohort, rows[TRAIN][SCAN_ID].iloc[0])
    held_out = pd.concat([rows[split].assign(**{SPLIT: split}) for split in (VAL, TEST)])
    volumes = (store.read(scan_id)[0] for scan_id in held_out[SCAN_ID])
    steps = track(trained.predict_all(volumes), description="predict", total=len(held_out))
    predictions = list(steps)
    write_embeddings(run.embeddings(key), held_out[SCAN_ID].tolist(), predictions)
    table = prediction_table(held_out, predictions, classes=trained.classes, key=key)
    write_csv(run.predictions(key), table)
    write_json(run.predicted_by(key), {"checkpoint": trained.sha256})
    log.info("%s: %d scans", run.predictions(key), len(table))


def prove_same_from_raw(trained: Predictor, store: Store, cohort: CohortPaths, scan_id: str) -> None:
    """Preprocessing at prediction must be that of training: one training scan, from its raw file and from the store."""
    raw = files_of(read_cohort(cohort.cohort).set_index(SCAN_ID).loc[scan_id], cohort.raw)
    stored = trained.predict(store.read(scan_id)[0]).probs
    fresh = trained.predict(trained.prepare(raw).array).probs
    if not np.allclose(stored, fresh, rtol=0, atol=TOLERANCE):
        raise ValueError(
            f"{raw.first}: predicted from the raw file its probabilities are {fresh.round(4)}, from the store "
            f"{stored.round(4)}, expected the same; run 'dvc repro preprocess', then train again."
        )
