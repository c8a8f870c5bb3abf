"""A table of features, a row a scan: read and checked, with the labels of a cohort's table beside it.

Axes: N scans, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.cohorts.label_table import is_missing
from pipeline.core.columns import (
    DEVELOPMENT,
    FOLD,
    LABEL,
    LABEL_SEPARATOR,
    NESTED,
    PATH,
    PATIENT_ID,
    SCAN_ID,
    SPLIT,
    TRAIN,
    VAL,
)
from pipeline.core.errors import did_you_mean
from pipeline.core.folds import fold_columns, rows_of_fold
from pipeline.core.ids import check_join
from pipeline.core.io import one_line
from pipeline.evaluation.settings import MULTILABEL

Array = NDArray[Any]
NOT_LABELS = (SCAN_ID, PATIENT_ID, PATH, SPLIT, FOLD)


@dataclass(frozen=True)
class Features:
    """A table of features, a row a scan."""

    rows: pd.DataFrame
    """`scan_id, patient_id, split, fold…`"""
    values: Array
    """(N, F)"""
    names: tuple[str, ...]
    origin: dict[str, Any]
    """What `python -m pipeline.embed` wrote about the network and the scans."""

    @property
    def rounds(self) -> dict[int, tuple[Array, Array]]:
        """By fold, the rows (N,) to fit on and those to judge; the locked test set is in neither.

        Features that learned from one fold's labels are judged on the patients which that network never saw.
        """
        learned = self.origin.get("learned_from")
        if learned and learned["cohort"] == self.origin.get("cohort"):
            of_fold = rows_of_fold(self.rows, learned["fold"])
            masks = [self.rows[SCAN_ID].isin(of_fold[part][SCAN_ID]).to_numpy() for part in (TRAIN, VAL)]
            return {learned["fold"]: (masks[0], masks[1])}
        fold = self.rows[FOLD]
        develops = self.rows[SPLIT].isin([DEVELOPMENT, NESTED]).to_numpy()
        held_out = {
            int(number): (fold == number).fillna(False).to_numpy(bool) for number in sorted(fold.dropna().unique())
        }
        return {number: (develops & ~mask, develops & mask) for number, mask in held_out.items()}


def read_features(path: Path) -> Features:
    """A Parquet table with `scan_id, patient_id, split, fold` and numbers, such as `pipeline.embed` writes."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; 'python -m pipeline.embed' writes it.")
    try:
        table = pd.read_parquet(path)
    except Exception as error:
        # The library raises what its own code happens to raise on a damaged file.
        raise ValueError(f"{path}: not a Parquet table, {one_line(error)}; embed the cohort again.") from None
    missing = [name for name in (SCAN_ID, PATIENT_ID, SPLIT, FOLD) if name not in table]
    if missing:
        raise ValueError(f"{path}: column '{missing[0]}' is missing; 'python -m pipeline.embed' writes it.")
    columns = [SCAN_ID, PATIENT_ID, SPLIT, *fold_columns(table)]
    features = table.drop(columns=columns)
    text = [name for name in features if not pd.api.types.is_numeric_dtype(features[name])]
    if text or features.empty or not np.isfinite(features.to_numpy(float)).all():
        found = f"column '{text[0]}'" if text else "no features" if features.empty else "an empty or infinite value"
        raise ValueError(f"{path}: got {found}, expected only finite numbers beside {', '.join(columns)}.")
    ids = table[columns].astype({SCAN_ID: str, PATIENT_ID: str} | {name: "Int64" for name in fold_columns(table)})
    return Features(ids, features.to_numpy(float), tuple(features), dict(table.attrs))


def labels_of(
    features: Features, cohort: pd.DataFrame, name: str, classes: Sequence[str], task: str
) -> dict[str, pd.Series]:
    """The label of each scan (N,) as text, empty where unknown; with several labels a scan, one series for each.

    Raises ValueError for a column that is missing, an id, or a feature.
    """
    if name in features.names or name in (*NOT_LABELS, *fold_columns(features.rows)):
        kind = "a feature" if name in features.names else "an id, a file or a part of the split"
        raise ValueError(f"label '{name}' is {kind}, expected a label column of cohort.csv; name another one.")
    if name not in cohort:
        raise ValueError(f"cohort.csv: no column '{name}'.{did_you_mean(name, cohort)} Known: {', '.join(cohort)}.")
    check_join(features.rows[SCAN_ID], cohort[SCAN_ID], what="scan", where="cohort.csv")
    found = cohort.set_index(SCAN_ID)[name].reindex(features.rows[SCAN_ID]).fillna("").reset_index(drop=True)
    if task == MULTILABEL and name == LABEL:
        shown = found.str.split(LABEL_SEPARATOR)
        return {
            f"{name}: {label}": shown.map(lambda own, label=label: "yes" if label in own else "no") for label in classes
        }
    return {name: found.mask(is_missing(found) & ~found.isin(classes if name == LABEL else ()), "")}
