"""Validation and test scans of one fold, from the store."""

import logging

import numpy as np
import pandas as pd
from rich.progress import track

from pipeline.cohorts.label_table import read_cohort
from pipeline.core.columns import SCAN_ID, SPLIT, TEST, TRAIN, VAL
from pipeline.core.folds import FoldLabel, parse_fold, read_splits, rows_of_fold
from pipeline.core.io import write_csv, write_json
from pipeline.core.paths import CohortPaths, RunPaths
from pipeline.imaging.io.discover import files_of
from pipeline.inference.tables import prediction_table, write_embeddings
from pipeline.inference.trained import TrainedRun
from pipeline.store.store import Store

log = logging.getLogger(__name__)
TOLERANCE = 1e-6


def predict_fold(trained: TrainedRun, cohort: CohortPaths, run: RunPaths, fold: FoldLabel) -> None:
    """Write predictions and embeddings of the scans that `fold` did not train on."""
    store = Store(cohort.preprocessed)
    rows = rows_of_fold(read_splits(cohort.splits), parse_fold(fold)[0])
    prove_same_from_raw(trained, store, cohort, rows[TRAIN][SCAN_ID].iloc[0])
    held_out = pd.concat([rows[split].assign(**{SPLIT: split}) for split in (VAL, TEST)])
    volumes = (store.read(scan_id)[0] for scan_id in held_out[SCAN_ID])
    steps = track(trained.predict_all(volumes), description="predict", total=len(held_out))
    predictions = list(steps)
    write_embeddings(run.embeddings(fold), held_out[SCAN_ID].tolist(), predictions)
    table = prediction_table(held_out, predictions, classes=trained.classes, fold=fold)
    write_csv(run.predictions(fold), table)
    write_json(run.predicted_by(fold), {"checkpoint": trained.sha256})
    log.info("%s: %d scans", run.predictions(fold), len(table))


def prove_same_from_raw(trained: TrainedRun, store: Store, cohort: CohortPaths, scan_id: str) -> None:
    """Preprocessing at prediction must be that of training: one training scan, from its raw file and from the store."""
    raw = files_of(read_cohort(cohort.cohort).set_index(SCAN_ID).loc[scan_id], cohort.raw)
    stored = trained.predict(store.read(scan_id)[0]).probs
    fresh = trained.predict(trained.prepare(raw).array).probs
    if not np.allclose(stored, fresh, rtol=0, atol=TOLERANCE):
        raise ValueError(
            f"{raw.first}: predicted from the raw file its probabilities are {fresh.round(4)}, from the store "
            f"{stored.round(4)}, expected the same; run 'dvc repro preprocess', then train again."
        )
