"""Weighted samples and rankings: the arrays that every metric works on."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from pipeline.core.columns import FOLD, LABEL, PATIENT_ID
from pipeline.evaluation.predictions import class_names, prob_columns

Array = np.ndarray


@dataclass(frozen=True)
class Ranking:
    """Ranks of the rows of a class among all rows, from the highest score down."""

    order: Array
    """(n,) rows by falling score."""
    class_order: Array
    """(M,) the class's rows, likewise."""
    tie_start: Array
    """(M,) rows with a higher score than each row of the class …"""
    tie_end: Array
    """… and with the same or a higher one."""
    class_tie_end: Array
    """(M,) rows of the class with the same or a higher score."""


@dataclass(frozen=True)
class Ranked:
    """Weighted counts at each row of the class, shape (M, R)."""

    weights: Array
    """Of the row itself."""
    true_positives: Array
    """Drawn rows of the class with the same or a higher score."""
    called: Array
    """Drawn rows of any class with the same or a higher score."""
    outranking: Array
    """Drawn rows of the rest with a higher score; those with the same score count half."""
    positives: Array
    """(R,) drawn rows of the class."""
    negatives: Array
    """(R,) drawn rows of the rest."""


def rank(rows: Array, scores: Array, is_class: Array) -> Ranking:
    """Ranking of `rows`, an index into `scores` and `is_class`, both (n,)."""
    order = rows[np.argsort(-scores[rows], kind="stable")]
    falling = -scores[order]
    of_class = falling[is_class[order]]
    return Ranking(
        order=order,
        class_order=order[is_class[order]],
        tie_start=np.searchsorted(falling, of_class, side="left"),
        tie_end=np.searchsorted(falling, of_class, side="right"),
        class_tie_end=np.searchsorted(of_class, of_class, side="right"),
    )


def count(ranking: Ranking, weights: Array) -> Ranked:
    """Counts under weights of shape (R, n)."""
    all_called = running_sum(weights.T[ranking.order])
    own = weights.T[ranking.class_order]
    class_called = running_sum(own)
    true_positives, called = class_called[ranking.class_tie_end], all_called[ranking.tie_end]
    class_tie_start = np.searchsorted(ranking.class_tie_end, ranking.class_tie_end, side="left")
    above = all_called[ranking.tie_start] - class_called[class_tie_start]
    return Ranked(
        weights=own,
        true_positives=true_positives,
        called=called,
        outranking=(above + called - true_positives) / 2,
        positives=class_called[-1],
        negatives=all_called[-1] - class_called[-1],
    )


def running_sum(weights: Array) -> Array:
    """(n, R) -> (n + 1, R): row i is the sum of the first i."""
    sums = np.empty((len(weights) + 1, weights.shape[1]))
    sums[0] = 0
    np.cumsum(weights, axis=0, out=sums[1:])
    return sums


@dataclass(frozen=True, eq=False)
class Sample:
    """One split at one level."""

    labels: Array
    """(n,) index of the true class."""
    probs: Array
    """(n, K)."""
    patients: Array
    """(n,) from 0 to P - 1."""
    folds: Array
    """(n,) from 0: scores of different folds come from different models and are never ranked against each other."""
    class_names: tuple[str, ...]
    threshold: float | Array | None = None
    """Binary only: the probability of the last class from which it is predicted, (n,) where rows have their own; None
    predicts the most probable class."""

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def num_patients(self) -> int:
        return int(self.patients.max(initial=-1)) + 1

    @property
    def is_binary(self) -> bool:
        return self.num_classes == 2

    @cached_property
    def preds(self) -> Array:
        """(n,) index of the predicted class."""
        if self.threshold is None:
            return self.probs.argmax(1)
        return (self.probs[:, 1] >= self.threshold).astype(int)

    @property
    def num_folds(self) -> int:
        return int(self.folds.max(initial=-1)) + 1

    @cached_property
    def rankings(self) -> dict[int, list[Ranking]]:
        """By class that is ranked against the rest, the last of two or each of more, then by fold."""
        classes = [1] if self.is_binary else range(self.num_classes)
        return {
            k: [
                rank(np.flatnonzero(self.folds == fold), self.probs[:, k], self.labels == k)
                for fold in range(self.num_folds)
            ]
            for k in classes
        }

    @cached_property
    def cells(self) -> Array:
        """(n, K * K) one in the cell of the confusion matrix that each row falls in."""
        return np.eye(self.num_classes**2)[self.labels * self.num_classes + self.preds]

    @cached_property
    def onehot(self) -> Array:
        """(n, K) one in the column of the true class."""
        return np.eye(self.num_classes)[self.labels]

    @cached_property
    def patients_of_class(self) -> Array:
        """(K,) patients with at least one row of the class."""
        return np.array([self.count_patients(self.labels == k) for k in range(self.num_classes)])

    def count_patients(self, rows: Array) -> int:
        """Patients with at least one of the rows, a boolean mask (n,)."""
        return int(np.count_nonzero(np.bincount(self.patients[rows])))

    def weighted(self, weights: Array | None = None) -> "Weighted":
        """The sample under weights of shape (R, n); once each by default."""
        return Weighted(self, np.ones((1, len(self.labels))) if weights is None else weights)

    def against_rest(self, k: int) -> "Sample":
        """The same rows with two classes, class k and the rest."""
        return from_positive(self, self.labels == k, self.probs[:, k], ("the rest", self.class_names[k]))

    def select(self, rows: Array) -> "Sample":
        """The rows of a boolean mask or an index, patients renumbered from 0."""
        patients = np.unique(self.patients[rows], return_inverse=True)[1]
        own = self.threshold[rows] if isinstance(self.threshold, np.ndarray) else self.threshold
        return Sample(self.labels[rows], self.probs[rows], patients, self.folds[rows], self.class_names, own)


@dataclass(frozen=True, eq=False)
class Weighted:
    """A sample under R sets of weights, shape (R, n)."""

    sample: Sample
    weights: Array

    @cached_property
    def total(self) -> Array:
        """(R,) rows drawn."""
        return self.weights.sum(1)

    @cached_property
    def confusion(self) -> Array:
        """(R, K, K) rows drawn by true class, then by predicted class."""
        num_classes = self.sample.num_classes
        return (self.weights @ self.sample.cells).reshape(-1, num_classes, num_classes)

    @cached_property
    def ranked(self) -> dict[int, list[Ranked]]:
        """Counts along the rankings of each class, by fold."""
        return {
            k: [count(ranking, self.weights) for ranking in rankings] for k, rankings in self.sample.rankings.items()
        }

    def mean(self, values: Array) -> Array:
        """(R,) weighted mean of one value a row, shape (n,)."""
        return self.weights @ values / self.total


def varies(scores: Array, folds: Array) -> bool:
    """Do the scores (n,) differ within some fold?"""
    # Means of equal numbers differ in their last digits.
    rounding = 8 * np.finfo(float).eps * np.abs(scores).max(initial=0)
    return any(np.ptp(scores[folds == fold]) > rounding for fold in np.unique(folds))


def from_positive(sample: Sample, is_positive: Array, probs: Array, class_names: tuple[str, str]) -> Sample:
    """Two classes on the same rows: `is_positive` and the `probs` of it are (n,)."""
    probs = np.clip(probs, 0, 1)
    return Sample(is_positive.astype(int), np.stack([1 - probs, probs], 1), sample.patients, sample.folds, class_names)


def sample_of(table: pd.DataFrame, threshold: float | None = None) -> Sample:
    """The arrays of a checked table of predictions."""
    names = class_names(table)
    return Sample(
        labels=table[LABEL].map({name: k for k, name in enumerate(names)}).to_numpy(dtype=int),
        probs=table[prob_columns(table)].to_numpy(dtype=float),
        patients=pd.factorize(table[PATIENT_ID])[0],
        folds=pd.factorize(table[FOLD])[0],
        class_names=tuple(names),
        threshold=threshold,
    )
