"""The search for near-duplicates on phantom heads."""

import numpy as np

from pipeline.splits.near_duplicates.search import find_near_duplicates, most_similar
from tests.splits.phantoms import descriptors_of, head

ONE_PARTITION = np.zeros(8, int)


def test_pairs_within_a_group_are_not_reported_and_a_single_scan_has_no_pair():
    descriptors = descriptors_of([head(person) for person in (0, 1, 2, 3, 4, 5, 0)])
    assert find_near_duplicates(descriptors, np.array([0, 1, 2, 3, 4, 5, 0]), ONE_PARTITION[:7]) == []
    (pair,) = find_near_duplicates(descriptors, np.arange(7), ONE_PARTITION[:7])
    assert (pair.first, pair.second) == (0, 6)
    assert find_near_duplicates(descriptors_of([head(0)]), np.arange(1), ONE_PARTITION[:1]) == []


def test_many_copies_in_one_partition_do_not_crowd_out_copies_in_another():
    similarity = np.array([[0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.1]])
    together = np.array([[True, True, True, True, True, False, False, False]])
    assert list(most_similar(similarity, together)) == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert list(most_similar(similarity, ~together)) == [(0, 5), (0, 6)]


def test_an_empty_scan_is_a_duplicate_of_nothing():
    volumes = [head(person) for person in range(6)] + [
        np.zeros((30, 30, 30), np.float32),
        np.full((20, 30, 40), 7, np.int16),
    ]
    assert find_near_duplicates(descriptors_of(volumes), np.arange(8), ONE_PARTITION[:8]) == []


def test_content_that_many_scans_repeat_is_not_taken_for_shared_anatomy():
    rng = np.random.default_rng(0)
    copies = [head(0) + rng.normal(0, 45, head(0).shape) for _ in range(12)]
    descriptors = descriptors_of([*copies, *(head(person) for person in range(1, 30))])
    pairs = find_near_duplicates(descriptors, np.arange(41), np.arange(41) % 2)
    assert {number for pair in pairs for number in (pair.first, pair.second)} == set(range(12))
