"""Do features tell the label? Linear probes that never saw the patient, fitted to the labels and to shuffled ones.

n patients, R shuffles.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.core.columns import LABEL, PATIENT_ID
from pipeline.evaluation.audits.permutation import NUM_SHUFFLES, aurocs, with_shuffles
from pipeline.evaluation.audits.probes import held_out_scores
from pipeline.evaluation.cv_design import PART, TRAIN_ONLY, division_of
from pipeline.evaluation.sample import Array


@dataclass(frozen=True, eq=False)
class Shuffled:
    """The patients of splits.csv with their labels as they are, then shuffled."""

    patients: pd.Index
    labels: Array
    """(n, 1 + R) boolean."""
    parts: Array
    """(n,) as `parts_of` gives them."""

    @classmethod
    def of(cls, splits: pd.DataFrame, positive: str, num_shuffles: int = NUM_SHUFFLES, seed: int = 0) -> "Shuffled":
        """Shuffled within parts, which were dealt so that they hold the classes alike."""
        rows = division_of(splits).drop_duplicates(PATIENT_ID)
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
        """(1 + R,) of the `asked` patients, of all that are ever judged by default."""
        rows = self.parts != TRAIN_ONLY if asked is None else self.patients.get_indexer(asked)
        return aurocs(self.labels[rows], scores[rows], self.parts[rows])
