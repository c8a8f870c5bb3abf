"""Integer programs that minimize the largest distance of a class count from its target.

Each program asks whether the groups can be assigned with every class count within some distance of its target. Counts
are whole numbers, so the bounds are too, and the answer does not depend on a solver's tolerance.

Legend: G groups, P partitions, K classes, T types (groups with equal class counts). An allocation (T, P) is the number
of groups of each type in each partition.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import eye_array, kron

from pipeline.splits.assignment import AssignmentProblem, imbalance

MAX_UNKNOWNS = 600
"""Types times partitions up to which programs are solved."""
MAX_NODES = 1000
"""Size of the search tree of one program, a limit that does not depend on the speed of the machine."""
INFEASIBLE = 2
"""The status by which scipy reports a proof that there is no solution."""
TIE = 1e-6


@dataclass(frozen=True)
class Solution:
    """A better assignment (G,) if the programs found one, and whether they proved that none is better."""

    assignment: np.ndarray | None
    is_proved: bool


@dataclass(frozen=True)
class Types:
    """Distinct class counts (T, K), the type of each group (G,), and the number of groups of each type (T,)."""

    class_counts: np.ndarray
    of_group: np.ndarray
    num_groups: np.ndarray


def improve_worst(problem: AssignmentProblem, counts: np.ndarray, found: np.ndarray) -> Solution:
    """An assignment of groups with `counts` (G, M) whose worst class count is nearer to its target than in `found`."""
    partitions = range(problem.num_partitions)
    partition_counts = problem.fixed_counts + np.stack([counts[found == number].sum(0) for number in partitions])
    missing, worst, _ = imbalance(problem, partition_counts)
    if not missing and worst < lower_bound(problem) + TIE:
        return Solution(None, is_proved=True)
    types = Types(*np.unique(counts[:, : problem.num_classes], axis=0, return_inverse=True, return_counts=True))
    if len(types.num_groups) * problem.num_partitions > MAX_UNKNOWNS:
        return Solution(None, is_proved=False)
    if not missing:
        return _bisect(problem, types, None, float(worst))
    allocation, is_proved = _solve(problem, types, np.inf)
    if allocation is None:
        return Solution(None, is_proved)
    return _bisect(problem, types, allocation, _worst(problem, types, allocation))


def lower_bound(problem: AssignmentProblem) -> float:
    """A bound on the worst distance that holds for any groups: scans are whole, targets are not."""
    worst = 0.0
    for targets in problem.targets[:, : problem.num_classes].T:
        rests = np.sort(targets - np.floor(targets + TIE))
        number_up = round(rests.sum())
        down, up = rests[: len(rests) - number_up], 1 - rests[len(rests) - number_up :]
        worst = max(worst, *down, *up)
    return worst


def _bisect(problem: AssignmentProblem, types: Types, allocation: np.ndarray | None, worst: float) -> Solution:
    """Bisect the possible distances between the lower bound and `worst`, which `allocation` reaches if given."""
    distances = _possible_distances(problem, worst)
    low, high, proved_below = 0, len(distances), 0
    while low < high:
        middle = (low + high) // 2
        better, is_proved = _solve(problem, types, distances[middle])
        if better is None:
            low, proved_below = middle + 1, middle + 1 if is_proved else proved_below
        else:
            allocation = better
            high = min(middle, np.searchsorted(distances, _worst(problem, types, better) - TIE))
    assignment = None if allocation is None else _to_assignment(types, allocation)
    return Solution(assignment, is_proved=bool(low <= proved_below))


def _possible_distances(problem: AssignmentProblem, worst: float) -> np.ndarray:
    """The distances from a target that a whole number of scans can have, from the lower bound to below `worst`."""
    targets = problem.targets[:, : problem.num_classes].ravel()
    reach = np.arange(-np.ceil(worst), np.ceil(worst) + 1)
    distances = np.unique(np.round(np.abs(np.rint(targets)[:, None] + reach - targets[:, None]), 6))
    return distances[(distances > lower_bound(problem) - TIE) & (distances < worst - TIE)]


def _worst(problem: AssignmentProblem, types: Types, allocation: np.ndarray) -> float:
    """The largest distance of a class count from its target."""
    class_counts = problem.fixed_counts[:, : problem.num_classes] + allocation.T @ types.class_counts
    return float(np.abs(class_counts - problem.targets[:, : problem.num_classes]).max())


def _to_assignment(types: Types, allocation: np.ndarray) -> np.ndarray:
    """An allocation (T, P) as the partition of each group (G,)."""
    assignment = np.empty(len(types.of_group), int)
    for number, row in enumerate(allocation):
        assignment[types.of_group == number] = np.repeat(np.arange(len(row)), row)
    return assignment


def _solve(problem: AssignmentProblem, types: Types, distance: float) -> tuple[np.ndarray | None, bool]:
    """An allocation with every class in every partition and every class count within `distance` of its target.

    Returns None if there is none or none was found, and whether that is proved.
    """
    num_types, num_partitions = len(types.num_groups), problem.num_partitions
    fixed, targets = (counts[:, : problem.num_classes].T.ravel() for counts in (problem.fixed_counts, problem.targets))
    low = np.maximum(np.ceil(targets - distance - TIE), 1)
    high = np.floor(targets + distance + TIE)
    every_group_once = kron(eye_array(num_types), np.ones((1, num_partitions))).tocsc()
    class_counts = kron(types.class_counts.T, eye_array(num_partitions)).tocsc()
    solved = milp(
        np.zeros(num_types * num_partitions),
        constraints=[
            LinearConstraint(every_group_once, types.num_groups, types.num_groups),
            LinearConstraint(class_counts, low - fixed, high - fixed),
        ],
        bounds=Bounds(0, np.repeat(types.num_groups, num_partitions)),
        integrality=1,
        options={"node_limit": MAX_NODES},
    )
    if solved.x is None:
        return None, solved.status == INFEASIBLE
    return np.rint(solved.x).astype(int).reshape(num_types, num_partitions), True
