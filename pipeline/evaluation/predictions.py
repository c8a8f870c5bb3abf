"""The table of predictions: read, checked, and aggregated to one row per scan or patient.

Columns: scan_id, patient_id, label, prob_<class> in the order of the classes (the last is the positive one of two), and
fold, seed and split, which a table from elsewhere may leave out: then one model predicted one test set.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.core.columns import (
    FOLD,
    LABEL,
    LABEL_SEPARATOR,
    NO_LABEL,
    PATIENT_ID,
    PROB_PREFIX,
    SCAN_ID,
    SPLIT,
    TEST,
    TRAIN,
    VAL,
)
from pipeline.core.errors import did_you_mean
from pipeline.core.ids import check_filled
from pipeline.core.tables import read_table
from pipeline.evaluation.cv_design import MODEL, check_roles

SUM_TOLERANCE, ROUNDING = 1e-3, 1e-6
"""How far a sum of probabilities may be from 1, and how far without any change."""
MOST_DIGITS = 4
"""With more digits rounding explains no difference that matters."""
ALL_FOLDS = -1
"""Fold of a row whose probabilities are the mean of several folds' models."""


def read_predictions(path: Path, *, several_labels: bool = False) -> pd.DataFrame:
    """A checked table from a CSV file; ids and labels stay text, so that `007` and a class called `NA` survive."""
    table = read_table(path, "'python -m pipeline.predict' writes it")
    return check_predictions(table, str(path), several_labels)


def read_folds(paths: list[Path], *, several_labels: bool = False) -> pd.DataFrame:
    """The predictions of several folds as one table, which all must have the same classes in the same order."""
    tables = {path: read_predictions(path, several_labels=several_labels) for path in paths}
    first = paths[0]
    for path, table in tables.items():
        if class_names(table) != class_names(tables[first]):
            raise ValueError(
                f"{path}: expected the classes {class_names(tables[first])} of {first}, "
                f"got {class_names(table)}; predict all folds again."
            )
    return check_predictions(pd.concat(tables.values(), ignore_index=True), f"{first.parent}", several_labels)


def class_names(predictions: pd.DataFrame) -> list[str]:
    """Classes in the order of their columns."""
    return [name.removeprefix(PROB_PREFIX) for name in prob_columns(predictions)]


def prob_columns(predictions: pd.DataFrame) -> list[str]:
    return [name for name in predictions.columns if name.startswith(PROB_PREFIX)]


def check_predictions(
    predictions: pd.DataFrame, where: str = "predictions.csv", several_labels: bool = False
) -> pd.DataFrame:
    """The table with numeric probabilities and consistent ids; ValueError otherwise.

    With `several_labels` a scan may show several classes or none, and probabilities need not sum to 1.
    """
    text = {column: predictions[column].astype(str) for column in (SCAN_ID, PATIENT_ID, LABEL) if column in predictions}
    table = predictions.assign(**text).reset_index(drop=True)
    check_columns(table, where)
    check_filled(table, (SCAN_ID, PATIENT_ID), where)
    for column in MODEL:
        table[column] = whole_numbers(table, column, where) if column in table else 0
    table[SPLIT] = table[SPLIT] if SPLIT in table else TEST
    check_values(table, SPLIT, [TRAIN, VAL, TEST], where)
    check_values(explode_labels(table) if several_labels else table, LABEL, class_names(table), where)
    check_probabilities(table, where)
    if not several_labels:
        scale_sums(table, predictions, where)
    check_identity(table, where)
    check_roles(table, where)
    return table


def check_columns(table: pd.DataFrame, where: str) -> None:
    for column in (SCAN_ID, PATIENT_ID, LABEL):
        if column not in table:
            raise ValueError(
                f"{where}: column '{column}' is missing.{did_you_mean(column, table.columns)} "
                f"Got {', '.join(map(str, table.columns))}; add it."
            )
    if len(prob_columns(table)) < 2:
        raise ValueError(
            f"{where}: expected a column {PROB_PREFIX}<class> for each of two classes or more, got "
            f"{', '.join(prob_columns(table)) or 'none'}; write one for every class."
        )
    joined = [name for name in class_names(table) if LABEL_SEPARATOR in name]
    if joined:
        raise ValueError(
            f"{where}: class '{joined[0]}' has a '{LABEL_SEPARATOR}', which joins the labels of a scan; "
            "rename the class."
        )


def whole_numbers(table: pd.DataFrame, column: str, where: str) -> pd.Series:
    numbers = pd.to_numeric(table[column], errors="coerce")
    bad = numbers.isna() | (numbers % 1 != 0)
    if bad.any():
        scan, value = table.loc[bad, [SCAN_ID, column]].iloc[0]
        raise ValueError(f"{where}: scan '{scan}' has {column} '{value}', expected a whole number; correct the row.")
    return numbers.astype(int)


def check_values(table: pd.DataFrame, column: str, known: list[str], where: str) -> None:
    unknown = table[~table[column].isin(known)]
    if len(unknown):
        scan, value = unknown.iloc[0][[SCAN_ID, column]]
        raise ValueError(
            f"{where}: scan '{scan}' has {column} '{value}'.{did_you_mean(value, known)} "
            f"Expected one of {', '.join(known)}; correct the row."
        )


def explode_labels(table: pd.DataFrame) -> pd.DataFrame:
    """One row per scan and class that it shows."""
    parts = table.assign(**{LABEL: table[LABEL].str.split(LABEL_SEPARATOR)}).explode(LABEL)
    return parts[~parts[LABEL].isin(["", NO_LABEL])]


def check_probabilities(table: pd.DataFrame, where: str) -> None:
    """Convert the columns to numbers in 0..1, in place."""
    columns = prob_columns(table)
    raw = table[columns]
    probs = raw.apply(pd.to_numeric, errors="coerce").astype(float)
    bad = ~((probs >= 0) & (probs <= 1 + ROUNDING))
    if bad.any(axis=None):
        row, column = np.argwhere(bad.to_numpy())[0]
        raise ValueError(
            f"{where}: scan '{table[SCAN_ID].iloc[row]}' has {columns[column]} = "
            f"{raw.iloc[row, column] or 'an empty cell'}, expected a number from 0 to 1; predict it again."
        )
    table[columns] = probs.clip(upper=1)


def scale_sums(table: pd.DataFrame, written: pd.DataFrame, where: str) -> None:
    """Scale probabilities that sum to 1 but for the digits they were written with, in place; ValueError for others."""
    columns = prob_columns(table)
    sums = table[columns].sum(axis=1).to_numpy()
    off = np.flatnonzero(np.abs(sums - 1) > sum_tolerance(written[columns]) + ROUNDING)
    if len(off):
        raise ValueError(
            f"{where}: the probabilities of scan '{table[SCAN_ID].iloc[off[0]]}' sum to "
            f"{sums[off[0]]:.4g}, expected 1; give probabilities, not scores, "
            "or set the task to multilabel."
        )
    table[columns] = table[columns].div(np.where(np.abs(sums - 1) > ROUNDING, sums, 1), axis=0)


def sum_tolerance(written: pd.DataFrame) -> NDArray:
    """(n,) how far the sum of each row may be from 1: half of the last digit of each probability, two digits at least.

    Of numbers whose digits are unknown `SUM_TOLERANCE`.
    """
    digits = np.max([num_decimals(written[column]) for column in written], axis=0)
    is_known = (digits >= 2) & (digits <= MOST_DIGITS)
    rounded = np.where(is_known, 0.5 * len(written.columns) * 10.0 ** -digits.astype(float), 0.0)
    return np.maximum(rounded, SUM_TOLERANCE)


def num_decimals(written: pd.Series) -> NDArray[np.int64]:
    """(n,) digits after the point of each number as it was written."""
    texts = written.astype(str).str
    point = texts.find(".").to_numpy(int)
    return np.where(point >= 0, texts.len().to_numpy(int) - point - 1, 0)


def check_identity(table: pd.DataFrame, where: str) -> None:
    """A scan has one patient and one label, and is predicted once by each fold."""
    for column in (PATIENT_ID, LABEL):
        counts = table.groupby(SCAN_ID)[column].nunique()
        if (counts > 1).any():
            scan = counts.idxmax()
            values = ", ".join(sorted(table.loc[table[SCAN_ID] == scan, column].unique()))
            raise ValueError(
                f"{where}: scan '{scan}' has several values of {column}: {values}; expected one, correct the rows."
            )
    repeated = table.duplicated([SCAN_ID, *MODEL, SPLIT])
    if repeated.any():
        row = table[repeated].iloc[0]
        raise ValueError(
            f"{where}: scan '{row[SCAN_ID]}' appears twice in fold {row[FOLD]}, split {row[SPLIT]}, "
            "expected one row; keep one."
        )


def average_folds(predictions: pd.DataFrame) -> pd.DataFrame:
    """One row per unit and split, the mean over its models; a unit is a scan, or a patient without scans."""
    columns = prob_columns(predictions)
    keys = [key for key in (SPLIT, SCAN_ID, PATIENT_ID, LABEL) if key in predictions]
    grouped = predictions.groupby(keys, sort=False)
    averaged = grouped[columns].mean()
    folds = grouped[FOLD].agg(["first", "nunique"])
    averaged[FOLD] = folds["first"].where(folds["nunique"] == 1, ALL_FOLDS)
    return averaged.reset_index()


def aggregate_by_patient(scans: pd.DataFrame, rule: str) -> pd.DataFrame:
    """One row per patient and model, of scans with one label per patient.

    `mean` averages the scans' probabilities; `max` takes the scan that is most confident of anything but the first
    class, so one suspicious scan is enough.
    """
    keys = [key for key in (SPLIT, *MODEL, PATIENT_ID, LABEL) if key in scans]
    columns = prob_columns(scans)
    if rule == "mean":
        return scans.groupby(keys, sort=False)[columns].mean().reset_index()
    suspicion = 1 - scans[columns[0]]
    strongest = suspicion.groupby([scans[key] for key in keys], sort=False).idxmax()
    return scans.loc[strongest, [*keys, *columns]].reset_index(drop=True)


def num_patients_with_mixed_labels(scans: pd.DataFrame) -> int:
    """Patients whose scans have different labels, so they have no single true class."""
    return int((scans.groupby(PATIENT_ID)[LABEL].nunique() > 1).sum())
