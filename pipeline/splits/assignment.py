"""The assignment problem: groups of patients, with their counts, to partitions that should get given shares.

Legend: G groups, P partitions, M counts per group, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from pipeline.core.columns import LABEL, PATIENT_ID

PATIENT_WEIGHT, SCAN_WEIGHT, COVARIATE_WEIGHT = 1.0, 0.5, 0.25
"""Labels come first; a covariate is balanced only as far as the labels allow."""
MAX_LEVELS = 8
"""A number with more distinct values is balanced by its thirds."""


@dataclass(frozen=True)
class GroupCounts:
    """`counts` (G, M) of the groups named in `groups`: K columns of patients per class, then K of scans per class."""

    groups: pd.Index
    classes: list[str]
    counts: np.ndarray
    weights: np.ndarray


def count_groups(table: pd.DataFrame, groups: pd.Series, covariates: Sequence[str] = ()) -> GroupCounts:
    """Patients per class, scans per class and scans per covariate level of each group.

    A patient counts once for each class among their scans.
    """
    scans_per_class = pd.crosstab(groups, table[LABEL])
    patients = table.assign(group=groups).drop_duplicates([PATIENT_ID, LABEL])
    patients_per_class = pd.crosstab(patients["group"], patients[LABEL])
    covariate_counts = [
        pd.crosstab(groups, as_levels(table[column])).reindex(scans_per_class.index, fill_value=0)
        for column in covariates
    ]
    blocks = [patients_per_class, scans_per_class, *covariate_counts]
    block_weights = [PATIENT_WEIGHT, SCAN_WEIGHT, *[COVARIATE_WEIGHT] * len(covariate_counts)]
    return GroupCounts(
        groups=scans_per_class.index,
        classes=[str(name) for name in scans_per_class.columns],
        counts=np.concatenate([block.to_numpy() for block in blocks], axis=1),
        weights=np.repeat(block_weights, [block.shape[1] for block in blocks]),
    )


def as_levels(values: pd.Series) -> pd.Series:
    """A covariate with few levels: categories as they are, numbers in thirds; a missing value is a level."""
    numbers = pd.to_numeric(values, errors="coerce")
    filled = values.notna() & (values.astype(str) != "")
    if numbers[filled].isna().any() or numbers.nunique() <= MAX_LEVELS:
        return values.where(filled, "missing").astype(str)
    thirds = pd.qcut(numbers, 3, labels=False, duplicates="drop")
    return thirds.astype("Int64").astype(str).where(filled, "missing")


@dataclass(frozen=True)
class AssignmentProblem:
    """Groups with `counts` (G, M), to assign to partitions with `shares` (P,) of the total; shares add up to one.

    `priorities` are columns of counts, in the order in which they are balanced, from the first column on; every
    partition needs each count of the first priority. `weights` (M,) are the importance of each count beyond that.
    `fixed` (G,) is the partition of a group that already has one, else -1. An assignment (G,) is the number of each
    group's partition.
    """

    counts: np.ndarray
    shares: np.ndarray
    weights: np.ndarray
    priorities: tuple[slice, ...]
    fixed: np.ndarray

    @property
    def num_partitions(self) -> int:
        return len(self.shares)

    @cached_property
    def targets(self) -> np.ndarray:
        """(P, M): the counts that each partition should have in the end."""
        return np.outer(self.shares, self.counts.sum(0))

    @cached_property
    def fixed_counts(self) -> np.ndarray:
        """(P, M): the counts of the groups that already have a partition."""
        return self.partition_counts(self.fixed)

    def partition_counts(self, assignment: np.ndarray) -> np.ndarray:
        """(P, M): the counts of each partition under an assignment (G,)."""
        return np.stack([self.counts[assignment == number].sum(0) for number in range(self.num_partitions)])


Imbalance = tuple[np.ndarray, ...]
"""Criteria in order of importance; lower is better."""


def imbalance(problem: AssignmentProblem, partition_counts: np.ndarray) -> Imbalance:
    """How far partitions with `partition_counts` (..., P, M) are from their targets.

    The number of counts of the first priority that are missing in a partition; for each priority, the largest distance
    of a count from its target; the weighted sum of squared distances of all counts.
    """
    distance = partition_counts - problem.targets
    missing = (partition_counts[..., problem.priorities[0]] < 1).sum((-1, -2))
    worst = [np.abs(distance[..., columns]).max((-1, -2), initial=0) for columns in problem.priorities]
    squares = (distance**2 * problem.weights).sum((-1, -2))
    return missing, *(np.round(value, 6) for value in (*worst, squares))


def least_imbalanced(candidates: Imbalance) -> int:
    """Index of the best candidate; the first of equals."""
    return int(np.lexsort(candidates[::-1])[0])
