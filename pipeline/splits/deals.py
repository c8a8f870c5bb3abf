"""A deal: groups of unequal make-up that go into bins, and how bad a division of them is.

Legend: G groups, B bins (test, fold 0, fold 1, ...), M measures: the scans of each class first, then whatever else
should be even, such as patients.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


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
