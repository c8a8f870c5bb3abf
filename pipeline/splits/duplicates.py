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
"""Most alike scans of each scan that are fitted to it."""
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


def near_duplicates(signatures: Signatures, groups: np.ndarray) -> list[Pair]:
    """Pairs of scans of different `groups` (N,) that show the same content."""
    if len(signatures.cells) < 2:
        return []
    common = common_of(signatures)
    fitted = [fit(signatures, common, pair) for pair in candidates(signatures, common, groups)]
    return [pair for pair in fitted if pair.fitted >= NEAR_DUPLICATE]


def fit(signatures: Signatures, common: Common, pair: Pair) -> Pair:
    likeness = fitted_likeness(signatures, common, pair.first, pair.second, pair.turn)
    return Pair(pair.first, pair.second, pair.turn, pair.screened, likeness)


def candidates(signatures: Signatures, common: Common, groups: np.ndarray) -> Iterator[Pair]:
    """The pairs worth fitting, each once."""
    seen: set[frozenset[int]] = set()
    for start in range(0, len(groups), ROWS):
        rows = np.arange(start, min(start + ROWS, len(groups)))
        likeness, turn = screen(signatures, common, rows)
        likeness[groups[rows, None] == groups[None]] = -1
        partners = np.argsort(-likeness, axis=1, kind="stable")[:, :PARTNERS]
        for first, row in zip(rows.tolist(), range(len(rows)), strict=True):
            for second in partners[row].tolist():
                if likeness[row, second] >= SCREEN and frozenset((first, second)) not in seen:
                    seen.add(frozenset((first, second)))
                    yield Pair(first, second, TURNS[turn[row, second]], float(likeness[row, second]))


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
