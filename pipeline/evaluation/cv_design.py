"""The design of a cross-validation, told from its predictions: nested, repeated, out-of-fold held_out_rounds."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.core.columns import FOLD, LABEL, PATIENT_ID, SCAN_ID, SEED, SPLIT, TEST, VAL

MODEL = [SEED, FOLD]
"""Columns that name the fitted model of a row."""


def cv_parts(table: pd.DataFrame, where: str) -> dict[str, pd.DataFrame]:
    """The rows of each outer part or repeat, by the folds that it has; any other design is one part."""
    is_test = table[SPLIT] == TEST
    is_nested = not set(table.loc[is_test, PATIENT_ID]).isdisjoint(table.loc[~is_test, PATIENT_ID])
    tests = patients_of(table[is_test])
    outer = [[fold for fold, own in tests.items() if own == patients] for patients in distinct(tests)]
    if is_nested and set(table[FOLD]) == set(tests) and are_disjoint(distinct(tests)):
        groups = outer
    else:
        groups = repeats(table[table[SPLIT] == VAL]) or [sorted(table[FOLD].unique())]
    parts = {f"folds {', '.join(map(str, folds))}": table[table[FOLD].isin(folds)] for folds in groups}
    for rows in parts.values():
        check_cv_design(rows, where)
    return parts


def distinct(patients: Mapping[int, set[str]]) -> list[set[str]]:
    return [set(own) for own in dict.fromkeys(map(frozenset, patients.values()))]


def are_disjoint(sets: list[set[str]]) -> bool:
    return len(set().union(*sets)) == sum(map(len, sets))


def repeats(validation: pd.DataFrame) -> list[list[int]]:
    """The folds of each repeat, all of which validate the same scans, each once; empty where there is only one."""
    scans = {fold: set(rows[SCAN_ID]) for fold, rows in validation.groupby(FOLD)}
    groups, left = [], scans
    while left:
        folds = disjoint(left)
        groups.append(folds)
        left = {fold: found for fold, found in left.items() if fold not in folds}
    validated = distinct({number: set().union(*(scans[fold] for fold in folds)) for number, folds in enumerate(groups)})
    is_repeated = len(groups) > 1 and len(validated) == 1 and len(distinct(scans)) > 1
    return groups if is_repeated else []


def check_cv_design(table: pd.DataFrame, where: str) -> None:
    """ValueError where the folds are of several cv_parts: outer parts, or repeats."""
    check_nested(table, where)
    for _, rows in table[table[SPLIT] == VAL].groupby(SEED):
        check_repeated(rows, where)


def check_roles(table: pd.DataFrame, where: str) -> None:
    split_counts = table.groupby([*MODEL, PATIENT_ID])[SPLIT].nunique()
    several = split_counts[split_counts > 1]
    if len(several):
        seed, fold, patient = several.index[0]
        own = table[(table[SEED] == seed) & (table[FOLD] == fold) & (table[PATIENT_ID] == patient)]
        raise ValueError(
            f"{where}: patient {patient} is in {' and '.join(sorted(own[SPLIT].unique()))} of fold {fold}, "
            "expected one of them; run the split again."
        )


def check_nested(table: pd.DataFrame, where: str) -> None:
    """Raise ValueError where a patient is in test of one fold and in another split of another."""
    is_test = table[SPLIT] == TEST
    both = set(table.loc[is_test, PATIENT_ID]) & set(table.loc[~is_test, PATIENT_ID])
    if both:
        rows = table[table[PATIENT_ID] == min(both)]
        tested, other = rows[rows[SPLIT] == TEST].iloc[0], rows[rows[SPLIT] != TEST].iloc[0]
        raise ValueError(
            f"{where}: patient {min(both)} is in test of fold {tested[FOLD]} and in {other[SPLIT]} of fold "
            f"{other[FOLD]}, expected one of them; nested folds are evaluated one outer part at a time: keep folds "
            f"that test the same patients, such as folds={same_test(patients_of(table[is_test]))}."
        )


def check_repeated(validation: pd.DataFrame, where: str) -> None:
    """Folds validate different scans, or all the same ones; `validation` are the rows of one seed."""
    scans = {fold: set(rows[SCAN_ID]) for fold, rows in validation.groupby(FOLD)}
    if validation[SCAN_ID].is_unique or len({frozenset(found) for found in scans.values()}) == 1:
        return
    repeated = validation[validation[SCAN_ID].duplicated()].iloc[0]
    first = validation.loc[validation[SCAN_ID] == repeated[SCAN_ID], FOLD].iloc[0]
    raise ValueError(
        f"{where}: scan '{repeated[SCAN_ID]}' validates in folds {first} and {repeated[FOLD]}, expected one of them; "
        f"repeated folds are evaluated one repeat at a time: keep the folds of one, such as folds={disjoint(scans)}."
    )


def patients_of(rows: pd.DataFrame) -> dict[int, set[str]]:
    """The patients of each fold."""
    return {fold: set(part[PATIENT_ID]) for fold, part in rows.groupby(FOLD)}


def same_test(patients: Mapping[int, set[str]]) -> list[int]:
    """The folds that test the patients of the first."""
    first = next(iter(patients.values()))
    return [int(fold) for fold, found in patients.items() if found == first]


def disjoint(scans: Mapping[int, set[str]]) -> list[int]:
    """The first folds that validate no scan twice."""
    seen: set[str] = set()
    kept = []
    for fold, found in scans.items():
        if not seen & found:
            kept.append(int(fold))
            seen |= found
    return kept


PART = "part"
TEST_PART, TRAIN_ONLY = -1, -2
"""Not a fold: the locked test set, and development patients that never validate."""


def partitions_of(splits: pd.DataFrame) -> NDArray:
    """(num_scans,) the fold in which each row of splits.csv validates, or one of the two constants above."""
    folds = pd.to_numeric(splits[FOLD], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    developed = np.where(np.isnan(folds), TRAIN_ONLY, folds)
    # A table from elsewhere may have a fold for test rows too.
    return np.where(splits[SPLIT] == TEST, TEST_PART, developed).astype(int)


def patient_partitions(splits: pd.DataFrame) -> pd.DataFrame:
    """`patient_id, label, part`, one row per patient and part; a patient has one part unless the splits leak."""
    rows = splits[[PATIENT_ID, LABEL]].assign(**{PART: partitions_of(splits)})
    return rows.drop_duplicates([PATIENT_ID, PART], ignore_index=True)


def held_out_rounds(parts: NDArray) -> Iterator[tuple[NDArray, NDArray]]:
    """(train, held_out) as boolean masks of the rows, for each part that is ever held out; `parts` is (n,)."""
    develops = parts != TEST_PART
    for part in np.unique(parts[parts != TRAIN_ONLY]):
        yield develops & (parts != part), parts == part
