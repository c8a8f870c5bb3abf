"""Stratification: assign groups of patients to partitions so that labels and covariates are balanced.

Legend: G groups, P partitions, M counts per group, T types (groups with equal counts). An allocation (T, P) is the
number of groups of each type in each partition.
"""

import itertools
import logging

import numpy as np

from pipeline.splits.assignment import AssignmentProblem, imbalance, least_imbalanced
from pipeline.splits.milp import improve_worst

log = logging.getLogger(__name__)

MAX_ENUMERATED = 200_000
"""Up to this number of assignments, all are tried."""
MAX_SWAP_TYPES = 200
"""Up to this number of types, swaps are tried besides moves: their number grows with the square of the types."""
TIE = 1e-9


def balance(problem: AssignmentProblem, rng: np.random.Generator) -> np.ndarray:
    """The partition of each group, shape (G,): the best assignment if all can be tried, else the best that is found.

    `rng` breaks ties, so that another seed gives another assignment that is equally balanced.
    """
    assignment = problem.fixed.copy()
    free = rng.permutation(np.flatnonzero(problem.fixed < 0))
    if not len(free):
        return assignment
    is_small = problem.num_partitions ** min(len(free), 64) <= MAX_ENUMERATED
    assignment[free] = (enumerate_assignments if is_small else assign_many)(problem, problem.counts[free])
    return assignment


def enumerate_assignments(problem: AssignmentProblem, counts: np.ndarray) -> np.ndarray:
    """The best of all assignments of few groups with `counts` (G, M)."""
    partitions = range(problem.num_partitions)
    assignments = np.array(list(itertools.product(partitions, repeat=len(counts))), int).reshape(-1, len(counts))
    partition_counts = np.stack([(assignments == number) @ counts for number in partitions], axis=1)
    return assignments[least_imbalanced(imbalance(problem, partition_counts + problem.fixed_counts))]


def assign_many(problem: AssignmentProblem, counts: np.ndarray) -> np.ndarray:
    """The partition of each of many groups with `counts` (G, M): by local search, then by an integer program."""
    found = search(problem, counts)
    solution = improve_worst(problem, counts, found)
    if not solution.is_proved:
        log.info("splits: %d groups with many different class counts; a better balanced split may exist", len(counts))
    # The program ignores some counts, such as covariates; exchanges that keep the classes as good balance those.
    return found if solution.assignment is None else search(problem, counts, start=solution.assignment)


def search(problem: AssignmentProblem, counts: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """The partition of each of many groups, by exchanges from `start` (G,) or from a greedy allocation.

    Groups of one type take the partitions of their type in order.
    """
    types, type_of_group, num_groups = np.unique(counts, axis=0, return_inverse=True, return_counts=True)
    if start is None:
        allocation = allocate_greedily(problem, types, num_groups)
    else:
        allocation = np.zeros((len(types), problem.num_partitions), int)
        np.add.at(allocation, (type_of_group, start), 1)
    allocation = exchange(problem, types, allocation)
    assignment = np.empty(len(counts), int)
    for number, row in enumerate(allocation):
        assignment[type_of_group == number] = np.repeat(np.arange(len(row)), row)
    return assignment


def allocate_greedily(problem: AssignmentProblem, types: np.ndarray, num_groups: np.ndarray) -> np.ndarray:
    """An allocation: the whole part of each partition's share first, then the largest groups where they fit best."""
    allocation = np.floor(np.outer(num_groups, problem.shares) + TIE).astype(int)
    if problem.fixed_counts.any():
        # Fixed groups are rarely in proportion: place every new group individually.
        allocation[:] = 0
    partition_counts = problem.fixed_counts + allocation.T @ types
    for number in np.argsort(-types.sum(1), kind="stable"):
        for _ in range(num_groups[number] - allocation[number].sum()):
            partition = _best_partition(problem, partition_counts, types[number])
            allocation[number, partition] += 1
            partition_counts[partition] += types[number]
    return allocation


def _best_partition(problem: AssignmentProblem, partition_counts: np.ndarray, group: np.ndarray) -> int:
    """The partition where one more group leaves the smallest weighted sum of squares."""
    distance = partition_counts - problem.targets
    return int((((distance + group) ** 2 - distance**2) * problem.weights).sum(1).argmin())


def exchange(problem: AssignmentProblem, types: np.ndarray, allocation: np.ndarray) -> np.ndarray:
    """Move and swap groups between pairs of partitions until nothing improves the balance."""
    partition_counts = problem.fixed_counts + allocation.T @ types
    pairs = list(itertools.permutations(range(problem.num_partitions), 2))
    improved = True
    while improved:
        improved = False
        for source, target in pairs:
            while _exchange_once(problem, types, allocation, partition_counts, source, target):
                improved = True
    return allocation


def _exchange_once(
    problem: AssignmentProblem,
    types: np.ndarray,
    allocation: np.ndarray,
    partition_counts: np.ndarray,
    source: int,
    target: int,
) -> bool:
    """Make the best exchange between two partitions if it is an improvement; both arrays change in place."""
    given, taken = _candidate_exchanges(allocation, source, target)
    if not len(given):
        return False
    change = types[given] - np.where(taken[:, None] < 0, 0, types[taken])
    after = np.repeat(partition_counts[None], len(change), axis=0)
    after[:, source] -= change
    after[:, target] += change
    candidates = imbalance(problem, after)
    best = least_imbalanced(candidates)
    current = tuple(float(criterion) for criterion in imbalance(problem, partition_counts))
    if tuple(criterion[best] for criterion in candidates) >= current:
        return False
    for number, sign in ((given[best], 1), (taken[best], -1)):
        if number >= 0:
            allocation[number, source] -= sign
            allocation[number, target] += sign
    partition_counts[:] = after[best]
    return True


def _candidate_exchanges(allocation: np.ndarray, source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """(given, taken): types that may move from source to target, and types that may come back; -1 is none."""
    given = np.flatnonzero(allocation[:, source])
    taken = np.flatnonzero(allocation[:, target]) if len(allocation) <= MAX_SWAP_TYPES else np.empty(0, int)
    taken = np.concatenate([[-1], taken]).astype(int)
    pairs = np.stack(np.meshgrid(given, taken, indexing="ij")).reshape(2, -1)
    return pairs[0], pairs[1]
