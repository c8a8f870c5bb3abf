"""Balance against trying everything, and against an integer programme."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from pipeline.splits.assignment import Deal
from pipeline.splits.stratification import balance, balance_many, search


def make_deal(scans_by_class, shares, fixed=None):
    makeup = np.array(scans_by_class)
    return Deal(
        makeup=makeup,
        shares=np.array(shares),
        weights=np.ones(makeup.shape[1]),
        num_classes=makeup.shape[1],
        fixed=np.full(len(makeup), -1) if fixed is None else np.array(fixed),
    )


def worst_distance(deal, bins):
    """(classes missing in some bin, largest distance of a class count from its share), written out by hand."""
    totals = deal.makeup.sum(0)
    missing, worst = 0, 0.0
    for number, share in enumerate(deal.shares):
        for kind, total in enumerate(totals):
            held = sum(int(deal.makeup[group, kind]) for group in range(len(bins)) if bins[group] == number)
            missing += held == 0
            worst = max(worst, abs(held - share * total))
    return missing, round(worst, 6)


GROUPS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(any), min_size=2, max_size=6)


@settings(max_examples=40, deadline=None)
@given(groups=GROUPS, shares=st.sampled_from([(0.5, 0.5), (0.25, 0.75), (0.4, 0.3, 0.3)]), seed=st.integers(0, 9))
def test_few_groups_are_divided_as_well_as_any_division_divides_them(groups, shares, seed):
    deal = make_deal(groups, shares)
    found = worst_distance(deal, balance(deal, np.random.default_rng(seed)))
    best = min(worst_distance(deal, bins) for bins in itertools.product(range(len(shares)), repeat=len(groups)))
    assert found == best


@settings(max_examples=60, deadline=None)
@given(groups=GROUPS, shares=st.sampled_from([(0.5, 0.5), (0.25, 0.75), (0.4, 0.3, 0.3)]))
@example(groups=[(4, 2), (3, 4), (5, 4), (5, 0)], shares=(0.4, 0.3, 0.3))
@example(groups=[(3, 4), (5, 0), (0, 4), (5, 1), (1, 5)], shares=(0.4, 0.3, 0.3))
def test_the_way_for_many_groups_reaches_the_best_division_where_all_can_be_tried(groups, shares):
    deal = make_deal(groups, shares)
    best = min(worst_distance(deal, bins) for bins in itertools.product(range(len(shares)), repeat=len(groups)))
    found = worst_distance(deal, balance_many(deal, deal.makeup))
    assert found == best if best[0] == 0 else found[0] > 0


@pytest.mark.parametrize(("num_groups", "largest"), [(30, 3), (90, 3), (14, 9), (20, 9)])
def test_many_groups_are_divided_as_an_independent_integer_programme_divides_them(num_groups, largest):
    rng = np.random.default_rng(num_groups)
    kinds = rng.integers(0, 2, num_groups)
    makeup = np.zeros((num_groups, 2), int)
    makeup[np.arange(num_groups), kinds] = rng.integers(1, largest + 1, num_groups)
    deal = make_deal(makeup, (0.25, 0.375, 0.375))
    found = worst_distance(deal, balance_many(deal, deal.makeup))[1]
    assert found <= least_worst_distance(deal) + 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_a_perfect_division_is_found_where_one_was_planted(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 39, (4, 3, 2))
    parts = np.concatenate([sizes, 120 - sizes.sum(1, keepdims=True)], axis=1)
    # In each of four bins, four groups of each class with 120 scans together.
    makeup = (np.eye(2, dtype=int) * parts[..., None]).reshape(-1, 2)
    deal = make_deal(makeup, (0.25,) * 4)
    assert worst_distance(deal, balance(deal, rng)) == (0, 0)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 60)), min_size=30, max_size=60),
    num_bins=st.integers(2, 6),
)
def test_exchanges_alone_keep_each_class_within_its_largest_group_of_its_share(sizes, num_bins):
    """More make-ups than a programme can hold are left to exchanges, which have this bound."""
    makeup = np.array([np.eye(3, dtype=int)[kind] * size for kind, size in sizes])
    deal = make_deal(makeup, (1 / num_bins,) * num_bins)
    contents = deal.contents(search(deal, makeup))
    assert (np.abs(contents - deal.targets) <= (1 - 1 / num_bins) * makeup.max(0) + 1e-6).all()


def least_worst_distance(deal):
    """By HiGHS, over the number of groups of each make-up in each bin."""
    types, counts = np.unique(deal.makeup, axis=0, return_counts=True)
    num_types, num_bins = len(types), len(deal.shares)
    worst = num_types * num_bins
    rows, low, high = [], [], []
    for kind in range(num_types):
        row = np.zeros(worst + 1)
        row[kind * num_bins : (kind + 1) * num_bins] = 1
        rows.append(row)
        low.append(counts[kind])
        high.append(counts[kind])
    for number, label, sign in itertools.product(range(num_bins), range(types.shape[1]), (1, -1)):
        row = np.zeros(worst + 1)
        row[number:worst:num_bins] = -sign * types[:, label]
        row[worst] = 1
        rows.append(row)
        low.append(-sign * deal.shares[number] * deal.makeup[:, label].sum())
        high.append(np.inf)
    cost = np.eye(worst + 1)[worst]
    bounds = Bounds(0, np.append(np.repeat(counts, num_bins), np.inf))
    integrality = np.append(np.ones(worst), 0)
    return milp(cost, constraints=LinearConstraint(rows, low, high), bounds=bounds, integrality=integrality).fun


def test_single_scans_are_never_more_than_one_scan_off_their_share():
    rng = np.random.default_rng(0)
    makeup = np.eye(3, dtype=int)[rng.integers(0, 3, 1000)]
    deal = make_deal(makeup, (0.2,) * 5)
    missing, worst = worst_distance(deal, balance(deal, rng))
    assert missing == 0
    assert worst < 1


def test_fixed_groups_stay_and_new_ones_make_up_for_them():
    makeup = [(1, 0)] * 12
    deal = make_deal(makeup, (0.5, 0.5), fixed=[0] * 5 + [-1] * 7)
    bins = balance(deal, np.random.default_rng(0))
    assert (bins[:5] == 0).all()
    assert (bins == 0).sum() == 6


def test_another_seed_divides_otherwise_but_as_well():
    deal = make_deal([(1, 0), (0, 1)] * 30, (0.5, 0.5))
    first, second = (balance(deal, np.random.default_rng(seed)) for seed in (0, 1))
    assert (first != second).any()
    assert worst_distance(deal, first) == worst_distance(deal, second)
