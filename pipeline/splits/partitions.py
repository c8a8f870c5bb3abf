"""Partitions: the test set and the folds, and the assignment of a table's groups to them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.config import Split
from pipeline.core.columns import DEVELOPMENT, LABEL, NESTED, PATIENT_ID, TEST
from pipeline.core.ids import normalize_id
from pipeline.core.io import decode, expand
from pipeline.splits.assignment import AssignmentProblem, GroupCounts, count_groups
from pipeline.splits.schemes import PartitionKey
from pipeline.splits.stratification import balance


@dataclass(frozen=True)
class Partition:
    """One partition: the values of `split` and `fold`, and the share of the patients that it should get."""

    split: str
    fold: int | None
    share: float

    @property
    def key(self) -> PartitionKey:
        return self.split, self.fold


def partitions_of(settings: Split, num_folds: int, first_fold: int = 0) -> list[Partition]:
    """The partitions of a scheme; those without a share are left out."""
    test, develop = settings.test_fraction, 1 - settings.test_fraction
    folds = [Partition(DEVELOPMENT, first_fold + fold, develop / num_folds) for fold in range(num_folds)]
    partitions = {
        "folds": [Partition(TEST, None, test), *folds],
        "dates": folds,
        "nested": [Partition(NESTED, part, 1 / num_folds) for part in range(num_folds)],
        "sites": [Partition(TEST, None, test), Partition(DEVELOPMENT, None, develop)],
        "holdout": [
            Partition(TEST, None, test),
            Partition(DEVELOPMENT, 0, develop * settings.val_fraction),
            Partition(DEVELOPMENT, None, develop * (1 - settings.val_fraction)),
        ],
    }[settings.scheme]
    return [partition for partition in partitions if partition.share > 0]


def assign_groups(
    table: pd.DataFrame,
    groups: pd.Series,
    make_partitions: Callable[[int], list[Partition]],
    settings: Split,
    previous: Mapping[str, PartitionKey],
    repeat: int = 0,
) -> dict[str, Partition]:
    """The partition of every group of `table`; a group in `previous` keeps its partition.

    `make_partitions` is called with a number of folds. Raises ValueError if a class is in too few groups, with
    settings that would work.
    """
    group_counts = count_groups(table, groups, settings.stratify)
    partitions = make_partitions(settings.num_folds)
    assignment, missing = _assign(group_counts, partitions, settings.seed, previous, repeat)
    if missing:
        remedy = _find_remedy(group_counts, make_partitions, settings, is_continued=bool(previous))
        raise ValueError(_format_too_few_groups(table, groups, missing, partitions, remedy))
    return {group: partitions[number] for group, number in zip(group_counts.groups, assignment, strict=True)}


def _assign(
    group_counts: GroupCounts,
    partitions: Sequence[Partition],
    seed: int,
    previous: Mapping[str, PartitionKey],
    repeat: int,
) -> tuple[np.ndarray, list[str]]:
    """The number of each group's partition, and the classes that are missing in some partition."""
    number_of = {partition.key: number for number, partition in enumerate(partitions)}
    shares, num_classes = np.array([partition.share for partition in partitions]), len(group_counts.classes)
    problem = AssignmentProblem(
        counts=group_counts.counts,
        shares=shares / shares.sum(),
        weights=group_counts.weights,
        priorities=(slice(0, num_classes), slice(num_classes, 2 * num_classes)),
        fixed=np.array([number_of[previous[group]] if group in previous else -1 for group in group_counts.groups]),
    )
    assignment = balance(problem, np.random.default_rng([seed, repeat]))
    is_missing = (problem.partition_counts(assignment)[:, :num_classes] == 0).any(0)
    return assignment, [name for name, missing in zip(group_counts.classes, is_missing, strict=True) if missing]


def _find_remedy(
    group_counts: GroupCounts,
    make_partitions: Callable[[int], list[Partition]],
    settings: Split,
    is_continued: bool,
) -> str:
    """Settings that put every class into every partition; each suggestion has been tried."""

    def works(partitions: Sequence[Partition]) -> bool:
        return not _assign(group_counts, partitions, settings.seed, {}, 0)[1]

    partitions = make_partitions(settings.num_folds)
    if is_continued and works(partitions):
        return "patients keep their earlier partitions; delete splits.csv to split all patients again"
    fewest = 3 if settings.scheme == "nested" else 2
    for num_folds in range(settings.num_folds - 1, fewest - 1, -1):
        if len(make_partitions(num_folds)) < len(partitions) and works(make_partitions(num_folds)):
            return f"the largest number that works is split.num_folds={num_folds}"
    without_test = [partition for partition in make_partitions(fewest) if partition.split != TEST]
    if len(without_test) < len(make_partitions(fewest)) and works(without_test):
        folds = f"split.num_folds={fewest} and " if len(without_test) < len(partitions) - 1 else ""
        return f"no number of folds works beside a locked test set: add patients, or set {folds}split.test_fraction=0"
    return "no number of folds works: add patients, or merge classes"


def _format_too_few_groups(
    table: pd.DataFrame, groups: pd.Series, missing: Sequence[str], partitions: Sequence[Partition], remedy: str
) -> str:
    num_groups = groups.groupby(table[LABEL].astype(str)).nunique()
    found = ", ".join(f"'{name}' in {num_groups[name]}" for name in missing)
    names = " + ".join(
        f"fold {partition.fold}" if partition.fold is not None else partition.split for partition in partitions
    )
    return (
        f"splits: every partition ({names}) needs every class, but some class is in too few separate groups of "
        f"patients: found {found}, expected at least {len(partitions)}; {remedy}."
    )


def group_of_scans(table: pd.DataFrame, group_columns: Iterable[str] = ()) -> pd.Series:
    """The name of each row's group: a connected component of scans that share a patient or a value of a group column.

    A group is named after its smallest patient id, so that names do not depend on the order of the rows. An empty cell
    links nothing.
    """
    scans, values = _links(table, (PATIENT_ID, *group_columns))
    num_nodes = len(table) + values.max(initial=-1) + 1
    edges = coo_array((np.ones(len(scans)), (scans, len(table) + values)), shape=(num_nodes, num_nodes))
    component = connected_components(edges, directed=False)[1][: len(table)]
    return table[PATIENT_ID].groupby(component).transform("min")


def _links(table: pd.DataFrame, columns: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """(row, value) for every filled cell; values are numbered over all columns."""
    rows, values, offset = [], [], 0
    for column in columns:
        codes = pd.factorize(table[column].where(table[column] != ""))[0]
        filled = np.flatnonzero(codes >= 0)
        rows.append(filled)
        values.append(codes[filled] + offset)
        offset += codes.max(initial=-1) + 1
    return np.concatenate(rows), np.concatenate(values)


def read_patients(file: str, key: str) -> set[str]:
    """Normalized patient ids from a text file with one id per line; `$NAME` is read from the environment.

    `key` is the key of the config that an error names.
    """
    path = expand(file, key)
    if not path.is_file():
        raise FileNotFoundError(f"{key}: {path} does not exist; expected a file with one patient id per line.")
    return {normalize_id(line) for line in decode(path.read_bytes(), str(path)).splitlines() if line.strip()}
