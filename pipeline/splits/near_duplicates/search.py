"""Search for near-duplicate scans: an index of signatures names candidates, and fitted similarity confirms them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from pipeline.splits.near_duplicates.descriptors import ALL_48, CELLS, IDENTITY, AxisPermutation, Descriptors
from pipeline.splits.near_duplicates.similarity import (
    CENTRAL,
    SharedComponents,
    central_vectors,
    find_shared_components,
    fitted_similarity,
    to_unit_length,
)

BLOCK = 2
"""Cells per axis whose mean is one number of a signature, which has an eighth of the numbers of the central cells."""
MIN_SCREENED = 0.2
"""Less similar pairs are not fitted."""
PARTNERS = 4
"""Most similar scans of each scan that are fitted to it: so many in its own partition, and as many in others."""
NEAR_DUPLICATE = 0.85
"""Fitted similarity from which two scans show one content: copies with cropped tissue reach 0.92, the two hippocampi of
one person 0.74, different people 0.6."""
ROWS = 2048
"""Scans that are compared with all others at once."""


@dataclass(frozen=True)
class Pair:
    """Two scans by their numbers; `permutation` brings the second onto the first."""

    first: int
    second: int
    permutation: AxisPermutation
    screened: float
    """Size of the signatures' correlation, before the fit, 0 to 1; an inverted copy has a negative one."""
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
    """The pair with its fitted similarity.

    A pair in two orientations is fitted in both. What all scans share is removed in one of them only; in the other a
    mirrored scan resembles the mirror image of any scan.
    """
    there = fitted_similarity(descriptors, shared, pair.first, pair.second, pair.permutation)
    if pair.permutation == IDENTITY or there < NEAR_DUPLICATE:
        return replace(pair, fitted=there)
    back = fitted_similarity(descriptors, shared, pair.second, pair.first, pair.permutation.inverse)
    return replace(pair, fitted=min(there, back))


def candidates(
    descriptors: Descriptors, shared: SharedComponents, groups: np.ndarray, partitions: np.ndarray
) -> Iterator[Pair]:
    """The pairs that are similar enough to be fitted, each once."""
    index = SignatureIndex(descriptors, shared)
    seen: set[frozenset[int]] = set()
    for start in range(0, len(groups), ROWS):
        rows = np.arange(start, min(start + ROWS, len(groups)))
        similarity, permutation = index.compare(rows)
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
    number = min(PARTNERS, allowed.shape[1])
    columns = np.sort(np.argpartition(-allowed, number - 1, axis=1)[:, :number], axis=1)
    rows, ranks = np.nonzero(np.take_along_axis(allowed, columns, axis=1) >= MIN_SCREENED)
    return zip(rows.tolist(), columns[rows, ranks].tolist(), strict=True)


class SignatureIndex:
    """Signatures of N scans: block means of the central cells beyond what all scans share, in all 48 orientations.

    A permutation of a scan permutes its signature, and the shared components are permuted in place of the scans, so
    nothing of the size of the descriptors is computed 48 times.
    """

    def __init__(self, descriptors: Descriptors, shared: SharedComponents) -> None:
        self.vectors = central_vectors(descriptors)
        self.shared = shared
        self.size = len(range(CELLS)[CENTRAL])
        self.blocks = self.block_means(self.vectors)
        self.shared_blocks = self.block_means(shared.rows).reshape(len(shared.rows), -1)
        self.own = self.signatures(IDENTITY)

    def block_means(self, vectors: np.ndarray) -> np.ndarray:
        """(N, C) -> (N, B, B, B): means of blocks of BLOCK cells per axis."""
        number = self.size // BLOCK
        return vectors.reshape(-1, number, BLOCK, number, BLOCK, number, BLOCK).mean((2, 4, 6))

    def signatures(self, permutation: AxisPermutation) -> np.ndarray:
        """Unit signatures (N, B^3) of the permuted scans."""
        cells = np.arange(self.vectors.shape[1]).reshape((self.size,) * 3)
        rows = np.empty_like(self.shared.rows)
        rows[:, permutation.apply(cells).ravel()] = self.shared.rows
        permuted = permutation.apply(self.blocks).reshape(len(self.blocks), -1)
        return to_unit_length(permuted - (self.vectors @ rows.T) @ self.shared_blocks)

    def compare(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Size of the correlation (rows, N) of some scans with all at the best permutation, and its number."""
        best = np.zeros((len(rows), len(self.vectors)), np.float32)
        best_number = np.zeros(best.shape, np.int8)
        for number, permutation in enumerate(ALL_48):
            similarity = np.abs(self.own[rows] @ self.signatures(permutation).T)
            best_number[similarity > best] = number
            np.maximum(best, similarity, out=best)
        return best, best_number
