"""The balance against all possible assignments, and against an independent integer program."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from pipeline.splits.assignment import AssignmentProblem
from pipeline.splits.stratification import assign_many, balance, search


def make_problem(scans_by_class, shares, fixed=None, priorities=None):
    counts = np.array(scans_by_class)
    return AssignmentProblem(
        counts=counts,
        shares=np.array(shares),
        weights=np.ones(counts.shape[1]),
        priorities=priorities or (slice(0, counts.shape[1]),),
        fixed=np.full(len(counts), -1) if fixed is None else np.array(fixed),
    )


def worst_distance(problem, assignment):
    """(classes missing in some partition, largest distance of a class count from its share), written out by hand."""
    totals = problem.counts.sum(0)
    missing, worst = 0, 0.0
    for number, share in enumerate(problem.shares):
        for kind, total in enumerate(totals):
            members = [group for group in range(len(assignment)) if assignment[group] == number]
            count = sum(int(problem.counts[group, kind]) for group in members)
            missing += count == 0
            worst = max(worst, abs(count - share * total))
    return missing, round(worst, 6)


def least_of_all_assignments(problem):
    """The smallest `worst_distance` of any assignment."""
    assignments = itertools.product(range(problem.num_partitions), repeat=len(problem.counts))
    return min(worst_distance(problem, assignment) for assignment in assignments)


GROUPS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(any), min_size=2, max_size=6)


@settings(max_examples=40, deadline=None)
@given(groups=GROUPS, shares=st.sampled_from([(0.5, 0.5), (0.25, 0.75), (0.4, 0.3, 0.3)]), seed=st.integers(0, 9))
def test_few_groups_get_the_best_of_all_assignments(groups, shares, seed):
    problem = make_problem(groups, shares)
    found = worst_distance(problem, balance(problem, np.random.default_rng(seed)))
    best = least_of_all_assignments(problem)
    assert found == best


@settings(max_examples=60, deadline=None)
@given(groups=GROUPS, shares=st.sampled_from([(0.5, 0.5), (0.25, 0.75), (0.4, 0.3, 0.3)]))
@example(groups=[(4, 2), (3, 4), (5, 4), (5, 0)], shares=(0.4, 0.3, 0.3))
@example(groups=[(3, 4), (5, 0), (0, 4), (5, 1), (1, 5)], shares=(0.4, 0.3, 0.3))
def test_the_method_for_many_groups_finds_the_best_assignment_of_few(groups, shares):
    problem = make_problem(groups, shares)
    best = least_of_all_assignments(problem)
    found = worst_distance(problem, assign_many(problem, problem.counts))
    assert found == best if best[0] == 0 else found[0] > 0


@settings(max_examples=40, deadline=None)
@given(groups=st.lists(st.tuples(st.integers(0, 1), st.integers(1, 9)), min_size=4, max_size=7))
def test_the_first_priority_is_as_balanced_as_possible_and_the_second_as_far_as_it_allows(groups):
    """Patients per class first, then scans per class, against all assignments."""
    patients = np.array([[1 - label, label] for label, _ in groups])
    scans = patients * np.array([[size] for _, size in groups])
    priorities = (slice(0, 2), slice(2, 4))
    problem = make_problem(np.concatenate([patients, scans], axis=1), (0.5, 0.5), priorities=priorities)

    def distances(assignment):
        missing, worst = worst_distance(make_problem(patients, (0.5, 0.5)), assignment)
        return missing, worst, worst_distance(make_problem(scans, (0.5, 0.5)), assignment)[1]

    best = min(distances(assignment) for assignment in itertools.product(range(2), repeat=len(groups)))
    found = distances(assign_many(problem, problem.counts))
    assert found == best if best[0] == 0 else found[0] > 0


@pytest.mark.parametrize(("num_groups", "largest"), [(30, 3), (90, 3), (14, 9), (20, 9)])
def test_many_groups_are_balanced_as_well_as_by_an_independent_integer_program(num_groups, largest):
    rng = np.random.default_rng(num_groups)
    kinds = rng.integers(0, 2, num_groups)
    counts = np.zeros((num_groups, 2), int)
    counts[np.arange(num_groups), kinds] = rng.integers(1, largest + 1, num_groups)
    problem = make_problem(counts, (0.25, 0.375, 0.375))
    found = worst_distance(problem, assign_many(problem, problem.counts))[1]
    assert found <= least_worst_distance(problem) + 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_perfect_assignment_is_found(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 39, (4, 3, 2))
    parts = np.concatenate([sizes, 120 - sizes.sum(1, keepdims=True)], axis=1)
    # In each of four assignment, four groups of each class with 120 scans together.
    counts = (np.eye(2, dtype=int) * parts[..., None]).reshape(-1, 2)
    problem = make_problem(counts, (0.25,) * 4)
    assert worst_distance(problem, balance(problem, rng)) == (0, 0)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 60)), min_size=30, max_size=60),
    num_partitions=st.integers(2, 6),
)
def test_exchanges_alone_keep_each_class_within_its_largest_group_of_its_share(sizes, num_partitions):
    """With more types than a program can hold, only exchanges are left; they have this bound."""
    counts = np.array([np.eye(3, dtype=int)[kind] * size for kind, size in sizes])
    problem = make_problem(counts, (1 / num_partitions,) * num_partitions)
    partition_counts = problem.partition_counts(search(problem, counts))
    assert (np.abs(partition_counts - problem.targets) <= (1 - 1 / num_partitions) * counts.max(0) + 1e-6).all()


def least_worst_distance(problem):
    """By HiGHS, over the number of groups of each type in each partition."""
    types, counts = np.unique(problem.counts, axis=0, return_counts=True)
    num_types, num_partitions = len(types), len(problem.shares)
    worst = num_types * num_partitions
    rows, low, high = [], [], []
    for kind in range(num_types):
        row = np.zeros(worst + 1)
        row[kind * num_partitions : (kind + 1) * num_partitions] = 1
        rows.append(row)
        low.append(counts[kind])
        high.append(counts[kind])
    for number, label, sign in itertools.product(range(num_partitions), range(types.shape[1]), (1, -1)):
        row = np.zeros(worst + 1)
        row[number:worst:num_partitions] = -sign * types[:, label]
        row[worst] = 1
        rows.append(row)
        low.append(-sign * problem.shares[number] * problem.counts[:, label].sum())
        high.append(np.inf)
    cost = np.eye(worst + 1)[worst]
    bounds = Bounds(0, np.append(np.repeat(counts, num_partitions), np.inf))
    integrality = np.append(np.ones(worst), 0)
    return milp(cost, constraints=LinearConstraint(rows, low, high), bounds=bounds, integrality=integrality).fun


def test_single_scans_are_never_more_than_one_scan_off_their_share():
    rng = np.random.default_rng(0)
    counts = np.eye(3, dtype=int)[rng.integers(0, 3, 1000)]
    problem = make_problem(counts, (0.2,) * 5)
    missing, worst = worst_distance(problem, balance(problem, rng))
    assert missing == 0
    assert worst < 1


def test_fixed_groups_stay_and_new_groups_compensate():
    counts = [(1, 0)] * 12
    problem = make_problem(counts, (0.5, 0.5), fixed=[0] * 5 + [-1] * 7)
    assignment = balance(problem, np.random.default_rng(0))
    assert (assignment[:5] == 0).all()
    assert (assignment == 0).sum() == 6


def test_another_seed_gives_another_equally_balanced_assignment():
    problem = make_problem([(1, 0), (0, 1)] * 30, (0.5, 0.5))
    first, second = (balance(problem, np.random.default_rng(seed)) for seed in (0, 1))
    assert (first != second).any()
    assert worst_distance(problem, first) == worst_distance(problem, second)
