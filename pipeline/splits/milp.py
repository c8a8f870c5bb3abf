"""The division whose worst class count is nearest to its target, by integer programmes.

Each asks whether the groups can be divided with every class count within some distance of its target. As counts are
whole, its bounds are whole numbers too, and the answer does not hang on a solver's tolerance.

Legend: G groups, B bins, K classes, T types (groups of equal class counts).
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import eye_array, kron

from pipeline.splits.assignment import Deal, badness

MOST_UNKNOWNS = 600
"""Types times bins up to which programmes are solved."""
NODES = 1000
"""Of the search tree of one, a limit that does not depend on the machine's speed."""
INFEASIBLE = 2
"""What scipy calls the proof that there is no solution."""
TIE = 1e-6


@dataclass(frozen=True)
class Answer:
    """What programmes say to a division: a better one, `bins` (G,), if they found one, and whether none is better."""

    bins: np.ndarray | None
    is_proved: bool


@dataclass(frozen=True)
class Types:
    """Groups by their class counts (T, K): the type of each group (G,), and how many there are of each (T,)."""

    classes: np.ndarray
    of_group: np.ndarray
    counts: np.ndarray


def improve_worst(deal: Deal, makeup: np.ndarray, found: np.ndarray) -> Answer:
    """Bins of groups of `makeup` (G, M) in which the worst class count is nearer to its target than in `found` (G,)."""
    contents = deal.held + np.stack([makeup[found == number].sum(0) for number in range(len(deal.shares))])
    missing, worst, _ = badness(deal, contents)
    if not missing and worst < least_possible(deal) + TIE:
        return Answer(None, is_proved=True)
    types = Types(*np.unique(makeup[:, : deal.num_classes], axis=0, return_inverse=True, return_counts=True))
    if len(types.counts) * len(deal.shares) > MOST_UNKNOWNS:
        return Answer(None, is_proved=False)
    if not missing:
        return _descend(deal, types, None, float(worst))
    dealt, is_proved = _solve(deal, types, np.inf)
    return Answer(None, is_proved) if dealt is None else _descend(deal, types, dealt, _worst(deal, types, dealt))


def least_possible(deal: Deal) -> float:
    """A distance of the worst class count that no division can go below: scans are whole, whatever the groups."""
    worst = 0.0
    for targets in deal.targets[:, : deal.num_classes].T:
        rests = np.sort(targets - np.floor(targets + TIE))
        number_up = round(rests.sum())
        down, up = rests[: len(rests) - number_up], 1 - rests[len(rests) - number_up :]
        worst = max(worst, *down, *up)
    return worst


def _descend(deal: Deal, types: Types, dealt: np.ndarray | None, worst: float) -> Answer:
    """Halve the distances between the least that is possible and `worst`, which is reached, by `dealt` if given."""
    distances = _distances(deal, worst)
    low, high, proved_below = 0, len(distances), 0
    while low < high:
        middle = (low + high) // 2
        better, is_proved = _solve(deal, types, distances[middle])
        if better is None:
            low, proved_below = middle + 1, middle + 1 if is_proved else proved_below
        else:
            dealt, high = better, min(middle, np.searchsorted(distances, _worst(deal, types, better) - TIE))
    return Answer(None if dealt is None else _bins(types, dealt), is_proved=bool(low <= proved_below))


def _distances(deal: Deal, worst: float) -> np.ndarray:
    """The distances from a target that a whole number of scans can have, from the least possible to below `worst`."""
    targets = deal.targets[:, : deal.num_classes].ravel()
    reach = np.arange(-np.ceil(worst), np.ceil(worst) + 1)
    distances = np.unique(np.round(np.abs(np.rint(targets)[:, None] + reach - targets[:, None]), 6))
    return distances[(distances > least_possible(deal) - TIE) & (distances < worst - TIE)]


def _worst(deal: Deal, types: Types, dealt: np.ndarray) -> float:
    contents = deal.held[:, : deal.num_classes] + dealt.T @ types.classes
    return float(np.abs(contents - deal.targets[:, : deal.num_classes]).max())


def _bins(types: Types, dealt: np.ndarray) -> np.ndarray:
    """The bin of each group (G,), where `dealt` (T, B) says how many of each type are in each."""
    bins = np.empty(len(types.of_group), int)
    for kind, row in enumerate(dealt):
        bins[types.of_group == kind] = np.repeat(np.arange(len(row)), row)
    return bins


def _solve(deal: Deal, types: Types, distance: float) -> tuple[np.ndarray | None, bool]:
    """Groups of each type in each bin, (T, B), that keep every class count within `distance` and every class in every
    bin; None where there are none or none was found, with whether that is proved."""
    num_types, num_bins = len(types.counts), len(deal.shares)
    held, targets = (part[:, : deal.num_classes].T.ravel() for part in (deal.held, deal.targets))
    low = np.maximum(np.ceil(targets - distance - TIE), 1)
    high = np.floor(targets + distance + TIE)
    solved = milp(
        np.zeros(num_types * num_bins),
        constraints=[
            LinearConstraint(kron(eye_array(num_types), np.ones((1, num_bins))).tocsc(), types.counts, types.counts),
            LinearConstraint(kron(types.classes.T, eye_array(num_bins)).tocsc(), low - held, high - held),
        ],
        bounds=Bounds(0, np.repeat(types.counts, num_bins)),
        integrality=1,
        options={"node_limit": NODES},
    )
    if solved.x is None:
        return None, solved.status == INFEASIBLE
    return np.rint(solved.x).astype(int).reshape(num_types, num_bins), True
