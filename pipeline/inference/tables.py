"""Predictions and embeddings as tables."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.core.columns import FOLD, LABEL, PATIENT_ID, PROB_PREFIX, SCAN_ID, SEED, SPLIT
from pipeline.core.folds import FoldLabel, parse_fold
from pipeline.core.io import whole_file
from pipeline.inference.trained import Prediction


def prediction_table(
    rows: pd.DataFrame, predictions: Sequence[Prediction], *, classes: Sequence[str], fold: FoldLabel
) -> pd.DataFrame:
    """predictions.csv: `scan_id, patient_id, fold, seed, split, label, prob_<class>…`; `rows` has one a prediction."""
    probs = np.stack([prediction.probs for prediction in predictions])
    table = rows[[SCAN_ID, PATIENT_ID, SPLIT, LABEL]].reset_index(drop=True)
    number, seed = parse_fold(fold)
    table.insert(2, FOLD, number)
    table.insert(3, SEED, seed)
    for index, name in enumerate(classes):
        table[f"{PROB_PREFIX}{name}"] = probs[:, index]
    return table


def write_embeddings(path: Path, scan_ids: Sequence[str], predictions: Sequence[Prediction]) -> None:
    """An .npz with `scan_id` (num_scans,) and `stage1` … `stage4`, each (num_scans, C_i)."""
    stages = zip(*(prediction.embeddings for prediction in predictions), strict=True)
    arrays = {f"stage{index}": np.stack(stage) for index, stage in enumerate(stages, start=1)}
    with whole_file(path) as temporary:
        np.savez(temporary, scan_id=np.array(scan_ids, dtype=np.str_), **arrays)
