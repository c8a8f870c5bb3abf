"""Who is judged by models of whom: the division that all floors and audits share.

A development patient is scored by a model of the other folds, a test patient by a model of all development.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from pipeline.core.columns import FOLD, LABEL, PATIENT_ID, SPLIT, TEST
from pipeline.evaluation.tables.sample import Array

PART = "part"
TEST_PART, TRAIN_ONLY = -1, -2
"""Parts beside the folds: the locked test set, and development patients that never validate."""


def parts_of(splits: pd.DataFrame) -> Array:
    """(num_scans,) the fold in which each row of splits.csv validates, or one of the two parts beside the folds."""
    folds = pd.to_numeric(splits[FOLD], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    developed = np.where(np.isnan(folds), TRAIN_ONLY, folds)
    # A table from elsewhere may give test rows a fold as well.
    return np.where(splits[SPLIT] == TEST, TEST_PART, developed).astype(int)


def division_of(splits: pd.DataFrame) -> pd.DataFrame:
    """`patient_id, label, part`, a row for each part that a patient has scans in: one, unless the splits leak."""
    rows = splits[[PATIENT_ID, LABEL]].assign(**{PART: parts_of(splits)})
    return rows.drop_duplicates([PATIENT_ID, PART], ignore_index=True)


def rounds(parts: Array) -> Iterator[tuple[Array, Array]]:
    """(seen, judged) as boolean masks of the rows, for each part that is ever judged; `parts` is (n,)."""
    develops = parts != TEST_PART
    for part in np.unique(parts[parts != TRAIN_ONLY]):
        yield develops & (parts != part), parts == part
