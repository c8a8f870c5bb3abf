"""p-values by shuffling, and AUROCs of many shuffles at once.

n patients, R shuffles. Shuffling happens within strata, so that whatever the strata hold fixed stays fixed.

Scores that never saw a label are ranked against shuffled labels as they are. Scores that were fitted to the labels are
fitted again to each shuffle: fits that share patients err together, and their AUROC strays further from chance than
that of scores held fixed.
"""

from math import ceil

import numpy as np
from scipy.stats import rankdata

from pipeline.evaluation.sample import Array

NUM_SHUFFLES = 999
SHUFFLES_PER_LEVEL = 5
TIE = 1e-9
"""Statistics nearer than this are equal: sums in another order differ in their last digits."""


def enough_shuffles(level: float) -> int:
    """So many that the smallest p-value stays under the level when it is adjusted over a handful of tests."""
    return max(NUM_SHUFFLES, ceil(SHUFFLES_PER_LEVEL / level))


def shuffled_rows(strata: Array, num_shuffles: int, generator: np.random.Generator) -> Array:
    """(n, R) index of the row whose value each row gets, never from another stratum."""
    rows = np.empty((len(strata), num_shuffles), dtype=int)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        rows[members] = generator.permuted(np.tile(members[:, None], num_shuffles), axis=0)
    return rows


def with_shuffles(values: Array, strata: Array, num_shuffles: int, generator: np.random.Generator) -> Array:
    """(n, 1 + R) the values (n,) as they are, then shuffled within strata."""
    return np.column_stack([values, values[shuffled_rows(strata, num_shuffles, generator)]])


def p_value(observed: float, shuffled: Array) -> float:
    """Share of shuffles as large as what was observed, which counts as one of them."""
    return float((1 + (shuffled >= observed - TIE).sum()) / (1 + len(shuffled)))


def aurocs(is_positive: Array, scores: Array, parts: Array) -> Array:
    """(R,) AUROC over pairs within parts; `is_positive` and `scores` are (n, R) or (n, 1), `parts` (n,).

    NaN where no part holds both classes.
    """
    wins, pairs = 0.0, 0.0
    for part in np.unique(parts):
        rows = parts == part
        positive, ranks = is_positive[rows], rankdata(scores[rows], axis=0)
        count = positive.sum(0)
        wins = wins + (ranks * positive).sum(0) - count * (count + 1) / 2
        pairs = pairs + count * (len(ranks) - count)
    with np.errstate(invalid="ignore"):
        return wins / np.asarray(pairs, dtype=float)


def auroc_p_value(
    is_positive: Array, scores: Array, parts: Array, num_shuffles: int, generator: np.random.Generator
) -> float:
    """Of an AUROC no larger than chance's: labels (n,) shuffled within parts, scores (n,) that never saw a label."""
    found = aurocs(with_shuffles(is_positive, parts, num_shuffles, generator), scores[:, None], parts)
    return p_value(found[0], found[1:])
