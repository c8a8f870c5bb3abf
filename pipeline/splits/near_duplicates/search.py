"""Search for near-duplicate scans: screen all pairs by their descriptors, confirm candidates by fitted similarity."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from pipeline.splits.near_duplicates.descriptors import ALL_48, IDENTITY, AxisPermutation, Descriptors
from pipeline.splits.near_duplicates.similarity import (
    SharedComponents,
    central_vectors,
    find_shared_components,
    fitted_similarity,
)

MIN_SCREENED = 0.2
"""Less similar pairs are not fitted."""
PARTNERS = 4
"""Most similar scans of each scan that are fitted to it: so many in its own partition, and as many in others."""
NEAR_DUPLICATE = 0.85
"""Fitted similarity from which two scans show one content: copies with cropped tissue reach 0.92, the two hippocampi of
one person 0.74, different people 0.6."""
ROWS = 1024
"""Scans that are compared with all others at once."""


@dataclass(frozen=True)
class Pair:
    """Two scans by their numbers; `permutation` brings the second onto the first."""

    first: int
    second: int
    permutation: AxisPermutation
    screened: float
    """Similarity before the fit, -1 to 1."""
    fitted: float = -1.0
    """Similarity after the best shift and scale."""


def find_near_duplicates(descriptors: Descriptors, groups: np.ndarray, partitions: np.ndarray) -> list[Pair]:
    """Pairs of scans from different `groups` (N,) with the same content; `partitions` (N,) are those of the split."""
    if len(descriptors.cells) < 2:
        return []
    shared = find_shared_components(descriptors)
    fitted = [fit(descriptors, shared, pair) for pair in candidates(descriptors, shared, groups, partitions)]
    return [pair for pair in fitted if pair.fitted >= NEAR_DUPLICATE]


def fit(descriptors: Descriptors, shared: SharedComponents, pair: Pair) -> Pair:
    """The pair with its fitted similarity."""
    similarity = fitted_similarity(descriptors, shared, pair.first, pair.second, pair.permutation)
    return replace(pair, fitted=similarity)


def candidates(
    descriptors: Descriptors, shared: SharedComponents, groups: np.ndarray, partitions: np.ndarray
) -> Iterator[Pair]:
    """The pairs that are similar enough to be fitted, each once."""
    seen: set[frozenset[int]] = set()
    for start in range(0, len(groups), ROWS):
        rows = np.arange(start, min(start + ROWS, len(groups)))
        similarity, permutation = screen(descriptors, shared, rows)
        similarity[groups[rows, None] == groups[None]] = -1
        together = partitions[rows, None] == partitions[None]
        # Searched separately, so that many copies in one partition do not crowd out one in another.
        for row, second in (*most_similar(similarity, together), *most_similar(similarity, ~together)):
            first = start + row
            if frozenset((first, second)) not in seen:
                seen.add(frozenset((first, second)))
                yield Pair(first, second, ALL_48[permutation[row, second]], float(similarity[row, second]))


def most_similar(similarity: np.ndarray, among: np.ndarray) -> Iterator[tuple[int, int]]:
    """(row, column) of the partners of each row of `similarity` (rows, N) among the scans of `among` (rows, N)."""
    allowed = np.where(among, similarity, -1)
    columns = np.argsort(-allowed, axis=1, kind="stable")[:, :PARTNERS]
    rows, ranks = np.nonzero(np.take_along_axis(allowed, columns, axis=1) >= MIN_SCREENED)
    return zip(rows.tolist(), columns[rows, ranks].tolist(), strict=True)


def screen(descriptors: Descriptors, shared: SharedComponents, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Similarity (rows, N) of some scans to all at the best permutation, and the number of that permutation."""
    own = shared.remove_from(central_vectors(descriptors, IDENTITY)[rows])
    best = np.full((len(rows), len(descriptors.cells)), -1, np.float32)
    best_number = np.zeros(best.shape, np.int8)
    for number, permutation in enumerate(ALL_48):
        similarity = own @ shared.remove_from(central_vectors(descriptors, permutation)).T
        best_number[similarity > best] = number
        np.maximum(best, similarity, out=best)
    return best, best_number
