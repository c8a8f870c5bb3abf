"""What is kept even over the folds: each group's scans of each class, its patients, and chosen covariates."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from pipeline.core.columns import LABEL, PATIENT_ID

CLASS_WEIGHT, PATIENT_WEIGHT, COVARIATE_WEIGHT = 1.0, 0.5, 0.25
"""Labels first; a covariate is balanced where that costs the labels nothing."""
MANY_VALUES = 8
"""A number with more values than this is balanced by its thirds."""


@dataclass(frozen=True)
class Measures:
    """`makeup` (num_groups, num_measures): counts of each group, named by `groups`; the classes stand first."""

    groups: pd.Index
    classes: list[str]
    makeup: np.ndarray
    weights: np.ndarray


def measure(table: pd.DataFrame, groups: pd.Series, covariates: Sequence[str] = ()) -> Measures:
    """Counts a group over its scans; patients are counted once for each class they have."""
    by_class = pd.crosstab(groups, table[LABEL])
    patients = table.assign(group=groups).drop_duplicates([PATIENT_ID, LABEL])
    patients_by_class = pd.crosstab(patients["group"], patients[LABEL])
    others = [
        pd.crosstab(groups, in_levels(table[column])).reindex(by_class.index, fill_value=0) for column in covariates
    ]
    blocks = [by_class, patients_by_class, *others]
    kinds = [CLASS_WEIGHT, PATIENT_WEIGHT, *[COVARIATE_WEIGHT] * len(others)]
    return Measures(
        groups=by_class.index,
        classes=[str(name) for name in by_class.columns],
        makeup=np.concatenate([block.to_numpy() for block in blocks], axis=1),
        weights=np.repeat(kinds, [block.shape[1] for block in blocks]),
    )


def in_levels(values: pd.Series) -> pd.Series:
    """A covariate as few levels: categories as they are, many numbers in thirds; a missing value is a level."""
    numbers = pd.to_numeric(values, errors="coerce")
    filled = values.notna() & (values.astype(str) != "")
    if numbers[filled].isna().any() or numbers.nunique() <= MANY_VALUES:
        return values.where(filled, "missing").astype(str)
    thirds = pd.qcut(numbers, 3, labels=False, duplicates="drop")
    return thirds.astype("Int64").astype(str).where(filled, "missing")


@dataclass(frozen=True)
class Deal:
    """What is dealt: `makeup` (G, M) to bins that should get `shares` (B,) of the whole, which add up to one.

    The first `num_classes` measures are classes; `weights` (M,) say how much each measure counts. `fixed` (G,) is the
    bin of a group that has one already, else -1.
    """

    makeup: np.ndarray
    shares: np.ndarray
    weights: np.ndarray
    num_classes: int
    fixed: np.ndarray

    @cached_property
    def targets(self) -> np.ndarray:
        """(B, M): what each bin should hold in the end."""
        return np.outer(self.shares, self.makeup.sum(0))

    @cached_property
    def held(self) -> np.ndarray:
        """(B, M): what bins hold before anything is dealt."""
        return self.contents(self.fixed)

    def contents(self, bins: np.ndarray) -> np.ndarray:
        """(B, M): what each bin holds when group g is in bins[g]."""
        return np.stack([self.makeup[bins == number].sum(0) for number in range(len(self.shares))])


Badness = tuple[np.ndarray, np.ndarray, np.ndarray]


def badness(deal: Deal, contents: np.ndarray) -> Badness:
    """How bad bins of `contents` (..., B, M) are, in order of importance; lower is better.

    Classes that a bin lacks; the largest distance of a class count from its target, in scans; the weighted sum of
    squared distances of all measures.
    """
    distance = contents - deal.targets
    classes = slice(0, deal.num_classes)
    missing = (contents[..., classes] < 1).sum((-1, -2))
    worst = np.abs(distance[..., classes]).max((-1, -2), initial=0)
    return missing, np.round(worst, 6), np.round((distance**2 * deal.weights).sum((-1, -2)), 6)


def best_of(candidates: Badness) -> int:
    """Index of the least bad; the first of equals."""
    missing, worst, squares = candidates
    return int(np.lexsort((squares, worst, missing))[0])
