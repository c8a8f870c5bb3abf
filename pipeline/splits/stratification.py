"""Stratification: assign groups of patients so that labels and covariates are balanced."""

import itertools
import logging

import numpy as np

from pipeline.splits.assignment import Deal, badness, best_of
from pipeline.splits.milp import improve_worst

log = logging.getLogger(__name__)

ENUMERABLE = 200_000
"""Assignments that are simply all tried."""
SWAPS = 200
"""Types up to which swaps are tried besides moves: swaps cost their square."""
TIE = 1e-9


def balance(deal: Deal, rng: np.random.Generator) -> np.ndarray:
    """Bin of each group, shape (G,): the best of all where all can be tried, else the best that is found.

    `rng` breaks ties, so that another seed gives another division that is as balanced.
    """
    bins = deal.fixed.copy()
    free = rng.permutation(np.flatnonzero(deal.fixed < 0))
    if not len(free):
        return bins
    few = len(deal.shares) ** min(len(free), 64) <= ENUMERABLE
    bins[free] = (try_all if few else balance_many)(deal, deal.makeup[free])
    return bins


def balance_many(deal: Deal, makeup: np.ndarray) -> np.ndarray:
    """Bin of each of many groups: by exchanges, and better where an integer programme knows better."""
    found = search(deal, makeup)
    answer = improve_worst(deal, makeup, found)
    if not answer.is_proved:
        log.info("splits: %d groups of many make-ups; a better balanced division of them may exist", len(makeup))
    # What the programme does not look at, such as covariates, is evened out by exchanges that leave classes as good.
    return found if answer.bins is None else search(deal, makeup, start=answer.bins)


def search(deal: Deal, makeup: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """Bin of each of many groups by exchanges from `start` (G,), or from a greedy deal.

    Groups of equal make-up take the bins of their type in their order.
    """
    types, type_of_group, counts = np.unique(makeup, axis=0, return_inverse=True, return_counts=True)
    if start is None:
        dealt = deal_greedily(deal, types, counts)
    else:
        dealt = np.zeros((len(types), len(deal.shares)), int)
        np.add.at(dealt, (type_of_group, start), 1)
    dealt = improve(deal, types, dealt)
    bins = np.empty(len(makeup), int)
    for kind, row in enumerate(dealt):
        bins[type_of_group == kind] = np.repeat(np.arange(len(row)), row)
    return bins


def try_all(deal: Deal, makeup: np.ndarray) -> np.ndarray:
    """The best of all assignments of few groups."""
    bins = range(len(deal.shares))
    assignments = np.array(list(itertools.product(bins, repeat=len(makeup))), int).reshape(-1, len(makeup))
    contents = np.stack([(assignments == bin) @ makeup for bin in bins], axis=1) + deal.held
    return assignments[best_of(badness(deal, contents))]


def deal_greedily(deal: Deal, types: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Groups of each type in each bin, (T, B): whole rounds first, then the largest of the rest where they fit."""
    dealt = np.floor(np.outer(counts, deal.shares) + TIE).astype(int)
    if deal.held.any():
        # What bins hold already is rarely in proportion: let every new group find its place.
        dealt[:] = 0
    contents = deal.held + dealt.T @ types
    for kind in np.argsort(-types.sum(1), kind="stable"):
        for _ in range(counts[kind] - dealt[kind].sum()):
            bin = _best_bin(deal, contents, types[kind])
            dealt[kind, bin] += 1
            contents[bin] += types[kind]
    return dealt


def _best_bin(deal: Deal, contents: np.ndarray, group: np.ndarray) -> int:
    """Where one more group leaves the smallest weighted squares."""
    distance = contents - deal.targets
    return int((((distance + group) ** 2 - distance**2) * deal.weights).sum(1).argmin())


def improve(deal: Deal, types: np.ndarray, dealt: np.ndarray) -> np.ndarray:
    """Move and swap groups between pairs of bins for as long as that makes the division better."""
    contents = deal.held + dealt.T @ types
    pairs = list(itertools.permutations(range(len(deal.shares)), 2))
    improved = True
    while improved:
        improved = False
        for source, target in pairs:
            while _step(deal, types, dealt, contents, source, target):
                improved = True
    return dealt


def _step(deal: Deal, types: np.ndarray, dealt: np.ndarray, contents: np.ndarray, source: int, target: int) -> bool:
    """Make the best exchange of two bins if it is an improvement; `dealt` and `contents` change in place."""
    given, taken = _exchanges(dealt, source, target)
    if not len(given):
        return False
    change = types[given] - np.where(taken[:, None] < 0, 0, types[taken])
    after = np.repeat(contents[None], len(change), axis=0)
    after[:, source] -= change
    after[:, target] += change
    candidates = badness(deal, after)
    best = best_of(candidates)
    if tuple(part[best] for part in candidates) >= tuple(float(part) for part in badness(deal, contents)):
        return False
    for kind, sign in ((given[best], 1), (taken[best], -1)):
        if kind >= 0:
            dealt[kind, source] -= sign
            dealt[kind, target] += sign
    contents[:] = after[best]
    return True


def _exchanges(dealt: np.ndarray, source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """(given, taken): types that may go from source to target, and what may come back; -1 is nothing."""
    given = np.flatnonzero(dealt[:, source])
    taken = np.flatnonzero(dealt[:, target]) if len(dealt) <= SWAPS else np.empty(0, int)
    taken = np.concatenate([[-1], taken]).astype(int)
    pairs = np.stack(np.meshgrid(given, taken, indexing="ij")).reshape(2, -1)
    return pairs[0], pairs[1]
