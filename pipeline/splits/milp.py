"""Integer programs that minimize the largest distance of a class count from its target, by priority.

Each program asks whether the groups can be assigned with every count of a priority within some distance of its target,
and those of earlier priorities within the distances that were reached. Counts are whole numbers, so the bounds are too,
and the answer does not depend on a solver's tolerance.

Legend: G groups, P partitions, K counts of the priorities so far, T types (groups with equal counts). An allocation
(T, P) is the number of groups of each type in each partition.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import eye_array, kron

from pipeline.splits.assignment import AssignmentProblem

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


def improve_worst(problem: AssignmentProblem, counts: np.ndarray, found: np.ndarray) -> Solution:
    """An assignment of groups with `counts` (G, M) whose worst counts are nearer to their targets than in `found`."""
    best, is_proved, reached = found, True, []
    for columns in problem.priorities:
        program = Program.of(problem, counts, columns, reached)
        solution = program.improve(best)
        best = best if solution.assignment is None else solution.assignment
        is_proved &= solution.is_proved
        reached.append(program.worst(program.allocation_of(best)))
    return Solution(None if best is found else best, is_proved)


@dataclass(frozen=True)
class Program:
    """The programs of one priority, whose counts are in `columns`.

    `types` (T, K) are the distinct counts of groups, `of_group` (G,) the type of each group, and `num_groups` (T,) the
    number of groups of each type. `targets` and `fixed` are (P, K); `reached` are the distances of earlier priorities.
    """

    columns: slice
    earlier: tuple[tuple[slice, float], ...]
    first: slice
    types: np.ndarray
    of_group: np.ndarray
    num_groups: np.ndarray
    targets: np.ndarray
    fixed: np.ndarray

    @classmethod
    def of(cls, problem: AssignmentProblem, counts: np.ndarray, columns: slice, reached: Sequence[float]) -> "Program":
        types, of_group, num_groups = np.unique(
            counts[:, : columns.stop], axis=0, return_inverse=True, return_counts=True
        )
        return cls(
            columns=columns,
            earlier=tuple(zip(problem.priorities, reached, strict=False)),
            first=problem.priorities[0],
            types=types,
            of_group=of_group,
            num_groups=num_groups,
            targets=problem.targets[:, : columns.stop],
            fixed=problem.fixed_counts[:, : columns.stop],
        )

    def improve(self, found: np.ndarray) -> Solution:
        """A better assignment than `found` (G,), in which earlier priorities are within their distances."""
        allocation = self.allocation_of(found)
        is_complete = bool((self.counts_of(allocation)[:, self.first] >= 1).all())
        if is_complete and self.worst(allocation) < self.lower_bound + TIE:
            return Solution(None, is_proved=True)
        if self.targets.shape[0] * len(self.num_groups) > MAX_UNKNOWNS:
            return Solution(None, is_proved=False)
        if is_complete:
            return self._bisect(None, self.worst(allocation))
        allocation, is_proved = self._solve(np.inf)
        return Solution(None, is_proved) if allocation is None else self._bisect(allocation, self.worst(allocation))

    @property
    def lower_bound(self) -> float:
        """A bound on the worst distance that holds for any groups: counts are whole, targets are not."""
        worst = 0.0
        for targets in self.targets[:, self.columns].T:
            rests = np.sort(targets - np.floor(targets + TIE))
            number_up = round(rests.sum())
            down, up = rests[: len(rests) - number_up], 1 - rests[len(rests) - number_up :]
            worst = max(worst, *down, *up)
        return worst

    def counts_of(self, allocation: np.ndarray) -> np.ndarray:
        """(P, K): the counts of each partition."""
        return self.fixed + allocation.T @ self.types

    def worst(self, allocation: np.ndarray) -> float:
        """The largest distance of a count of this priority from its target."""
        distance = (self.counts_of(allocation) - self.targets)[:, self.columns]
        return float(np.abs(distance).max(initial=0))

    def allocation_of(self, assignment: np.ndarray) -> np.ndarray:
        """An assignment (G,) as an allocation (T, P)."""
        allocation = np.zeros((len(self.num_groups), len(self.targets)), int)
        np.add.at(allocation, (self.of_group, assignment), 1)
        return allocation

    def assignment_of(self, allocation: np.ndarray) -> np.ndarray:
        """An allocation (T, P) as the partition of each group (G,)."""
        assignment = np.empty(len(self.of_group), int)
        for number, row in enumerate(allocation):
            assignment[self.of_group == number] = np.repeat(np.arange(len(row)), row)
        return assignment

    def _bisect(self, allocation: np.ndarray | None, worst: float) -> Solution:
        """Bisect the possible distances between the lower bound and `worst`, which `allocation` reaches if given."""
        distances = self._possible_distances(worst)
        low, high, proved_below = 0, len(distances), 0
        while low < high:
            middle = (low + high) // 2
            better, is_proved = self._solve(distances[middle])
            if better is None:
                low, proved_below = middle + 1, middle + 1 if is_proved else proved_below
            else:
                allocation = better
                high = min(middle, np.searchsorted(distances, self.worst(better) - TIE))
        assignment = None if allocation is None else self.assignment_of(allocation)
        return Solution(assignment, is_proved=bool(low <= proved_below))

    def _possible_distances(self, worst: float) -> np.ndarray:
        """The distances from a target that a whole number can have, from the lower bound to below `worst`."""
        targets = self.targets[:, self.columns].ravel()
        reach = np.arange(-np.ceil(worst), np.ceil(worst) + 1)
        distances = np.unique(np.round(np.abs(np.rint(targets)[:, None] + reach - targets[:, None]), 6))
        return distances[(distances > self.lower_bound - TIE) & (distances < worst - TIE)]

    def _solve(self, distance: float) -> tuple[np.ndarray | None, bool]:
        """An allocation with the first priority in every partition and each count within `distance` of its target.

        Returns None if there is none or none was found, and whether that is proved.
        """
        num_types, num_partitions = len(self.num_groups), len(self.targets)
        distances = np.empty(self.targets.shape)
        for columns, limit in (*self.earlier, (self.columns, distance)):
            distances[:, columns] = limit
        low, high = np.ceil(self.targets - distances - TIE), np.floor(self.targets + distances + TIE)
        low[:, self.first] = np.maximum(low[:, self.first], 1)
        every_group_once = kron(eye_array(num_types), np.ones((1, num_partitions))).tocsc()
        counts = kron(self.types.T, eye_array(num_partitions)).tocsc()
        solved = milp(
            np.zeros(num_types * num_partitions),
            constraints=[
                LinearConstraint(every_group_once, self.num_groups, self.num_groups),
                LinearConstraint(counts, (low - self.fixed).T.ravel(), (high - self.fixed).T.ravel()),
            ],
            bounds=Bounds(0, np.repeat(self.num_groups, num_partitions)),
            integrality=1,
            options={"node_limit": MAX_NODES},
        )
        if solved.x is None:
            return None, solved.status == INFEASIBLE
        return np.rint(solved.x).astype(int).reshape(num_types, num_partitions), True
