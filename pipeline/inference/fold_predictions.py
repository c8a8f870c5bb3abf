"""Predictions of the scans of a fold: validation and test, as tables and embeddings.

Axes: K classes, F features.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.cohorts.label_table import read_cohort
from pipeline.core.columns import FOLD, LABEL, PATIENT_ID, PROB_PREFIX, SCAN_ID, SEED, SPLIT, TEST, TRAIN, VAL
from pipeline.core.folds import read_splits, rows_of_fold
from pipeline.core.io import whole_file, write_csv, write_json
from pipeline.core.paths import CohortPaths, RunPaths, TrainingKey
from pipeline.core.progress import show_progress
from pipeline.data.dataset import stored_images
from pipeline.imaging.io.discover import scan_files
from pipeline.inference.predictor import Prediction, Predictor
from pipeline.store.store import Store

log = logging.getLogger(__name__)
TOLERANCE = 1e-6
"""Largest difference of probabilities between a raw scan and its preprocessed copy."""


def predict_fold(trained: Predictor, cohort: CohortPaths, run: RunPaths, key: TrainingKey) -> None:
    """Write predictions and embeddings of the validation and test scans of a training."""
    store = Store(cohort.preprocessed)
    rows = rows_of_fold(read_splits(cohort.splits), key.fold)
    check_raw_scan_agrees(trained, store, cohort, rows[TRAIN][SCAN_ID].iloc[0])
    held_out = pd.concat([rows[split].assign(**{SPLIT: split}) for split in (VAL, TEST)])
    volumes = stored_images(store, held_out[SCAN_ID])
    predictions = list(show_progress(trained.predict_all(volumes), len(held_out), "predict"))
    write_embeddings(run.embeddings(key), held_out[SCAN_ID].tolist(), predictions)
    table = prediction_table(held_out, predictions, classes=trained.classes, key=key)
    write_csv(run.predictions(key), table)
    write_json(run.predicted_by(key), {"checkpoint": trained.sha256})
    log.info("%s: %d scans", run.predictions(key), len(table))


def check_raw_scan_agrees(trained: Predictor, store: Store, cohort: CohortPaths, scan_id: str) -> None:
    """ValueError if a training scan has other probabilities from its raw file than from the store.

    Prediction must preprocess as training did.
    """
    raw = scan_files(read_cohort(cohort.cohort).set_index(SCAN_ID).loc[scan_id], cohort.raw)
    stored = trained.predict(next(stored_images(store, [scan_id]))).probs
    fresh = trained.predict(trained.prepare(raw).array).probs
    if not np.allclose(stored, fresh, rtol=0, atol=TOLERANCE):
        raise ValueError(
            f"{raw.first}: its probabilities are {fresh.round(4)} from the raw file and {stored.round(4)} from the "
            "preprocessed one, expected the same; run 'dvc repro preprocess', then train again."
        )


def predict_validation(trained: Predictor, cohort: CohortPaths, key: TrainingKey) -> pd.DataFrame:
    """The rows of predictions.csv for the validation scans."""
    rows = rows_of_fold(read_splits(cohort.splits), key.fold)[VAL].assign(**{SPLIT: VAL})
    predictions = list(trained.predict_all(stored_images(Store(cohort.preprocessed), rows[SCAN_ID])))
    return prediction_table(rows, predictions, classes=trained.classes, key=key)


def prediction_table(
    rows: pd.DataFrame, predictions: Sequence[Prediction], *, classes: Sequence[str], key: TrainingKey
) -> pd.DataFrame:
    """predictions.csv: `scan_id, patient_id, fold, seed, split, label, prob_<class>…`; `rows` has as many rows."""
    probs = np.stack([prediction.probs for prediction in predictions])
    table = rows[[SCAN_ID, PATIENT_ID, SPLIT, LABEL]].reset_index(drop=True)
    table.insert(2, FOLD, key.fold)
    table.insert(3, SEED, key.seed)
    for index, name in enumerate(classes):
        table[f"{PROB_PREFIX}{name}"] = probs[:, index]
    return table


def write_embeddings(path: Path, scan_ids: Sequence[str], predictions: Sequence[Prediction]) -> None:
    """An .npz with `scan_id` (num_scans,) and `stage1` … `stage4`, each (num_scans, C_i)."""
    stages = zip(*(prediction.embeddings for prediction in predictions), strict=True)
    arrays = {f"stage{index}": np.stack(stage) for index, stage in enumerate(stages, start=1)}
    with whole_file(path) as temporary:
        np.savez(temporary, scan_id=np.array(scan_ids, dtype=np.str_), **arrays)
