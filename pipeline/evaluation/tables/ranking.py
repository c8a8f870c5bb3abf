"""Rows in the order of their scores, prepared once, so that a resample costs two running sums.

n rows, M of them of the class that is ranked, R resamples. Everything is counted at the class's own rows only: a
ranking figure is a sum over positives of what stands above or below them.
"""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Ranking:
    """Where the rows of a class stand among all, from the highest score down."""

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
    outrankers: Array
    """Drawn rows of the rest above, those with the same score counting half."""
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
        outrankers=(above + called - true_positives) / 2,
        positives=class_called[-1],
        negatives=all_called[-1] - class_called[-1],
    )


def running_sum(weights: Array) -> Array:
    """(n, R) -> (n + 1, R): row i is the sum of the first i."""
    sums = np.empty((len(weights) + 1, weights.shape[1]))
    sums[0] = 0
    np.cumsum(weights, axis=0, out=sums[1:])
    return sums
