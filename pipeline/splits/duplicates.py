"""Near-duplicates: all pairs of scans are screened by their signatures, and the most alike are fitted to each other."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.splits.likeness import Common, common_of, fitted_likeness, inner_pictures
from pipeline.splits.signatures import Signatures
from pipeline.splits.turns import AS_IS, TURNS, Turn

SCREEN = 0.2
"""Pairs less alike than this before they are fitted are dropped."""
PARTNERS = 4
"""Most alike scans of each scan that are fitted to it, of its own place in the split and as many of others."""
NEAR_DUPLICATE = 0.85
"""Fitted likeness from which two scans show one content: copies with tissue cropped away reach 0.92, the two
hippocampi of one person 0.74, different people 0.6."""
ROWS = 1024
"""Scans compared with all others at once."""


@dataclass(frozen=True)
class Pair:
    """Two scans by their numbers; `turn` brings the second onto the first."""

    first: int
    second: int
    turn: Turn
    screened: float
    """Likeness as the scans are, -1 to 1."""
    fitted: float = -1.0
    """Likeness after the best shift and scale."""


def near_duplicates(signatures: Signatures, groups: np.ndarray, places: np.ndarray) -> list[Pair]:
    """Pairs of scans of different `groups` (N,) that show the same content; `places` (N,) are those in the split."""
    if len(signatures.cells) < 2:
        return []
    common = common_of(signatures)
    fitted = [fit(signatures, common, pair) for pair in candidates(signatures, common, groups, places)]
    return [pair for pair in fitted if pair.fitted >= NEAR_DUPLICATE]


def fit(signatures: Signatures, common: Common, pair: Pair) -> Pair:
    likeness = fitted_likeness(signatures, common, pair.first, pair.second, pair.turn)
    return Pair(pair.first, pair.second, pair.turn, pair.screened, likeness)


def candidates(signatures: Signatures, common: Common, groups: np.ndarray, places: np.ndarray) -> Iterator[Pair]:
    """The pairs worth fitting, each once."""
    seen: set[frozenset[int]] = set()
    for start in range(0, len(groups), ROWS):
        rows = np.arange(start, min(start + ROWS, len(groups)))
        likeness, turn = screen(signatures, common, rows)
        likeness[groups[rows, None] == groups[None]] = -1
        together = places[rows, None] == places[None]
        # Apart, so that many copies in one place do not crowd out one that stands elsewhere.
        for row, second in (*most_alike(likeness, together), *most_alike(likeness, ~together)):
            first = start + row
            if frozenset((first, second)) not in seen:
                seen.add(frozenset((first, second)))
                yield Pair(first, second, TURNS[turn[row, second]], float(likeness[row, second]))


def most_alike(likeness: np.ndarray, among: np.ndarray) -> Iterator[tuple[int, int]]:
    """(row, column) of the partners of each row of `likeness` (rows, N) where `among` (rows, N) allows."""
    allowed = np.where(among, likeness, -1)
    columns = np.argsort(-allowed, axis=1, kind="stable")[:, :PARTNERS]
    rows, ranks = np.nonzero(np.take_along_axis(allowed, columns, axis=1) >= SCREEN)
    return zip(rows.tolist(), columns[rows, ranks].tolist(), strict=True)


def screen(signatures: Signatures, common: Common, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Likeness (rows, N) of some scans with all, at the best turn, and that turn's number."""
    own = common.remove(inner_pictures(signatures, AS_IS)[rows])
    best = np.full((len(rows), len(signatures.cells)), -1, np.float32)
    turn = np.zeros(best.shape, np.int8)
    for number, other in enumerate(TURNS):
        likeness = own @ common.remove(inner_pictures(signatures, other)).T
        turn[likeness > best] = number
        np.maximum(best, likeness, out=best)
    return best, turn
