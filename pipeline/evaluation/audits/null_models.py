"""Null models: permuted labels, p-values, probes and refits on held-out patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from pipeline.core.columns import LABEL, PATIENT_ID
from pipeline.evaluation.cv_design import PART, TRAIN_ONLY, held_out_rounds, patient_partitions
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


NOISE = 1.0
"""Variance of the label's noise against that of the signal; with standardized features, the ridge's penalty."""


def probe_map(train: Array, held_out: Array) -> Array:
    """(m, n) matrix that takes the labels of `train` (n, F), as numbers, to the scores of `held_out` (m, F)."""
    mean, scale = train.mean(0), train.std(0)
    varies = scale > 0
    known, asked = ((rows[:, varies] - mean[varies]) / scale[varies] for rows in (train, held_out))
    num_seen, num_features = known.shape
    kernel = known @ known.T / max(num_features, 1)
    centring = np.eye(num_seen) - 1 / num_seen
    # Features are centered, so that taking the labels' mean off beforehand fits the intercept.
    return (asked @ known.T / max(num_features, 1)) @ np.linalg.solve(kernel + NOISE * np.eye(num_seen), centring)


def held_out_scores(features: Array, labels: Array, parts: Array) -> Array:
    """(n, R) score of each row by probes that never saw its part, fitted to each column of `labels` (n, R).

    `features` (n, F); `parts` (n,) as `partitions_of` gives them. NaN for rows that are never held_out, or by nobody.
    """
    scores = np.full(labels.shape, np.nan)
    for train, held_out in held_out_rounds(parts):
        if train.any():
            scores[held_out] = probe_map(features[train], features[held_out]) @ labels[train]
    return scores


@dataclass(frozen=True, eq=False)
class Shuffled:
    """The patients of splits.csv with their labels as they are, then shuffled."""

    patients: pd.Index
    labels: Array
    """(n, 1 + R) boolean."""
    parts: Array
    """(n,) as `partitions_of` gives them."""

    @classmethod
    def of(cls, splits: pd.DataFrame, positive: str, num_shuffles: int = NUM_SHUFFLES, seed: int = 0) -> "Shuffled":
        """Shuffled within parts, which were dealt so that they hold the classes alike."""
        rows = patient_partitions(splits).drop_duplicates(PATIENT_ID)
        is_positive, parts = (rows[LABEL] == positive).to_numpy(), rows[PART].to_numpy()
        labels = with_shuffles(is_positive, parts, num_shuffles, np.random.default_rng(seed))
        return cls(pd.Index(rows[PATIENT_ID]), labels, parts)

    def scores(self, features: pd.DataFrame) -> Array:
        """(n, 1 + R) of probes on `features`, a row a patient; NaN where nobody was left to fit on."""
        known = features.reindex(self.patients)
        # An ordinary value stands in for a missing one, so that it says nothing.
        filled = known.fillna(known.median()).fillna(0)
        return held_out_scores(filled.to_numpy(), self.labels, self.parts)

    def aurocs(self, scores: Array, asked: Sequence[str] | None = None) -> Array:
        """(1 + R,) of the `asked` patients, of all that are ever held_out by default."""
        rows = self.parts != TRAIN_ONLY if asked is None else self.patients.get_indexer(asked)
        return aurocs(self.labels[rows], scores[rows], self.parts[rows])
