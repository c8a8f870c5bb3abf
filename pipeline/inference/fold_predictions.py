"""Predictions of the scans of a fold: validation and test, as tables and embeddings.

Axes: K classes, F features.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.cohorts.label_table import read_cohort
from pipeline.core.columns import FOLD, LABEL, PATIENT_ID, PROB_PREFIX, SCAN_ID, SEED, SPLIT, TEST, TRAIN, VAL
from pipeline.core.folds import read_splits, rows_of_fold
from pipeline.core.io import whole_file, write_csv, write_json
from pipeline.core.paths import CohortPaths, RunPaths, TrainingKey
from pipeline.core.progress import show_progress
from pipeline.data.dataset import stored_images
from pipeline.imaging.io.discover import ScanFiles, scan_files
from pipeline.inference.guard_fitting import fit_guard
from pipeline.inference.predictor import Prediction, Predictor
from pipeline.store.store import Store

log = logging.getLogger(__name__)
PARITY_SCANS = 5
TOLERANCE, SAME_PLACE_MM = 1e-6, 1e-3
"""Largest difference between a raw scan and its preprocessed copy, of a probability and of a place."""


def predict_fold(trained: Predictor, cohort: CohortPaths, run: RunPaths, key: TrainingKey) -> None:
    """Write predictions and embeddings of the validation and test scans of a training, and its input guard."""
    store = Store(cohort.preprocessed)
    rows = rows_of_fold(read_splits(cohort.splits), key.fold)
    parity = check_parity(trained, store, cohort, rows)
    held_out = pd.concat([rows[split].assign(**{SPLIT: split}) for split in (VAL, TEST)])
    volumes = stored_images(store, held_out[SCAN_ID])
    predictions = list(show_progress(trained.predict_all(volumes), len(held_out), "predict"))
    write_embeddings(run.embeddings(key), held_out[SCAN_ID].tolist(), predictions)
    guard = fit_guard(trained, cohort, rows, [found.embeddings for found in predictions[: len(rows[VAL])]])
    guard.write(run.guard(key), checkpoint=trained.sha256)
    table = prediction_table(held_out, predictions, classes=trained.classes, key=key)
    write_csv(run.predictions(key), table)
    write_json(
        run.predicted_by(key),
        {"checkpoint": trained.sha256, "parity": parity, "input_guard": {**guard.summary, "reason": guard.reason}},
    )
    log.info("%s: %d scans", run.predictions(key), len(table))


def check_parity(
    trained: Predictor, store: Store, cohort: CohortPaths, rows: Mapping[str, pd.DataFrame]
) -> dict[str, float]:
    """Prepare and predict some scans again from their raw files, and compare with the preprocessed ones.

    ValueError with scan and step where they differ: prediction must preprocess as training did. Returns how many
    scans of each part were compared, and their largest difference of a probability.
    """
    table = read_cohort(cohort.cohort).set_index(SCAN_ID)
    chosen = choose_for_parity({part: rows[part][SCAN_ID].tolist() for part in (VAL, TEST, TRAIN)})
    largest = 0.0
    for scan_id in (name for names in chosen.values() for name in names):
        raw = scan_files(table.loc[scan_id], cohort.raw)
        largest = max(largest, parity_of(trained, store, scan_id, raw))
    counts = {part: len(names) for part, names in chosen.items()}
    log.info("parity: %d scans are the same from their raw files", sum(counts.values()))
    return {**counts, "largest_difference": largest}


def choose_for_parity(ids: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Three scans of validation, one of each other part, and more of any up to `PARITY_SCANS`."""
    chosen = {part: names[: 3 if part == VAL else 1] for part, names in ids.items()}
    for part, names in ids.items():
        missing = PARITY_SCANS - sum(map(len, chosen.values()))
        chosen[part] = names[: len(chosen[part]) + max(0, missing)]
    return chosen


def parity_of(trained: Predictor, store: Store, scan_id: str, raw: ScanFiles) -> float:
    """The largest difference of a scan's probabilities; ValueError where a step gives another result."""
    prepared = trained.prepare(raw)
    (stored, affine), where = store.read(scan_id), f"{raw.first}: scan '{scan_id}'"
    remedy = "run 'dvc repro preprocess', then train again."
    if prepared.array.shape != stored.shape or not np.allclose(prepared.affine, affine, rtol=0, atol=SAME_PLACE_MM):
        raise ValueError(
            f"{where}: resampling gives another grid from the raw file, {grid_text(prepared.array, prepared.affine)}, "
            f"than the preprocessed one has, {grid_text(stored, affine)}; {remedy}"
        )
    if not np.array_equal(prepared.array, stored):
        different = prepared.array != stored
        raise ValueError(
            f"{where}: preprocessing gives other voxels from the raw file than the preprocessed one has, "
            f"{different.sum()} of {different.size} by up to {np.abs(prepared.array - stored).max():.3g}; {remedy}"
        )
    fresh, known = trained.predict(prepared.array).probs, trained.predict(next(stored_images(store, [scan_id]))).probs
    difference = float(np.abs(fresh - known).max())
    if not difference <= TOLERANCE:
        raise ValueError(
            f"{where}: the network gives the probabilities {fresh.round(4)} from the raw file and {known.round(4)} "
            f"from the preprocessed one, expected the same; {remedy}"
        )
    return difference


def grid_text(volume: NDArray, affine: NDArray) -> str:
    size, origin = "x".join(map(str, volume.shape[1:])), ", ".join(f"{value:.4g}" for value in affine[:3, 3])
    return f"{size} voxels from ({origin}) mm"


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
