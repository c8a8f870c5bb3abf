"""The locked test set: the count of its evaluations, because choices made after one bias the next.

No choice of the pipeline reads it: `core/folds.py` gives training its train and val rows, `planning` sees development
scans only, calibration and thresholds are fitted on validation, and experiments are compared there by default.
"""

import hashlib
import logging
from pathlib import Path

import pandas as pd

from pipeline.core.columns import SPLIT, TEST
from pipeline.core.io import write_csv
from pipeline.core.tables import read_table

log = logging.getLogger(__name__)
COLUMNS = ["experiment", "predictions"]


def count_test_evaluations(path: Path, experiment: str, predictions: pd.DataFrame) -> int | None:
    """Record these test predictions unless they are known; return the number of different ones, None without test rows.

    The same predictions evaluated again, for example with other intervals, are not a new evaluation.
    """
    test = predictions[predictions[SPLIT] == TEST]
    if test.empty:
        return None
    text = test.sort_values(list(test.columns)).to_csv(index=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    looks = read_table(path) if path.is_file() else pd.DataFrame(columns=COLUMNS, dtype=str)
    if digest not in set(looks["predictions"]):
        looks.loc[len(looks)] = [experiment, digest]
        write_csv(path, looks)
    return len(looks)


def record_test_evaluation(path: Path, experiment: str, predictions: pd.DataFrame) -> None:
    """Count the evaluation and log it."""
    looks = count_test_evaluations(path, experiment, predictions)
    if looks is not None:
        log.info("%s: evaluation %d of the locked test set; choices made after one bias the next", path, looks)


def count_recorded_evaluations(path: Path) -> int:
    return len(read_table(path)) if path.is_file() else 0
