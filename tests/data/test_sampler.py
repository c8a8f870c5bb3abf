from collections import Counter
from itertools import chain

import pytest

from pipeline.data.sampler import ResumableBatchSampler, SequentialBatchSampler


def epochs_of(sampler: ResumableBatchSampler, num_epochs: int) -> list[list[tuple[int, int]]]:
    return [batch for _ in range(num_epochs) for batch in sampler]


@pytest.mark.parametrize(("num_scans", "batch_size"), [(10, 3), (8, 4), (5, 8), (1, 1)])
def test_every_scan_comes_once_an_epoch(num_scans, batch_size):
    sampler = ResumableBatchSampler(num_scans, batch_size, seed=0)
    for epoch in range(3):
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert sorted(chain(*batches)) == [(epoch, index) for index in range(num_scans)]


def test_order_changes_with_epoch_and_seed_only():
    first, again, other = (ResumableBatchSampler(50, 4, seed=seed) for seed in (1, 1, 2))
    epochs = [[key[1] for key in chain(*first)] for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert [key[1] for key in chain(*again)] == epochs[0]
    assert [key[1] for key in chain(*other)] != epochs[0]


@pytest.mark.parametrize("batches_done", range(12))
def test_started_later_it_goes_on_as_the_whole_run_would(batches_done):
    whole = epochs_of(ResumableBatchSampler(10, 3, seed=5), 3)
    later = ResumableBatchSampler(10, 3, seed=5)
    later.seek(batches_done)
    assert epochs_of(later, 3 - batches_done // 4) == whole[batches_done:]


def test_the_count_of_someone_else_decides_where_to_go_on():
    whole = epochs_of(ResumableBatchSampler(10, 3, seed=5), 2)
    done = 0
    sampler = ResumableBatchSampler(10, 3, 5, lambda: done)
    assert list(sampler) == whole[:4]
    done = 6
    assert list(sampler) == whole[6:8]


def test_in_order_is_the_order_of_the_table():
    sampler = SequentialBatchSampler(5, 2)
    assert list(sampler) == [[(0, 0), (0, 1)], [(0, 2), (0, 3)], [(0, 4)]]
    assert len(sampler) == 3


def test_balanced_epochs_are_as_long_and_show_each_class_as_often():
    classes = [0] * 9 + [1] * 2 + [2]
    sampler = ResumableBatchSampler(12, 5, seed=0, classes=classes)
    seen = Counter()
    for _ in range(3):
        epoch = [index for _, index in chain(*sampler)]
        assert len(epoch) == 12
        assert Counter(classes[index] for index in epoch) == {0: 4, 1: 4, 2: 4}
        # Scans of a class come in turn: none a second time before all of it have come.
        assert Counter(index for index in epoch if classes[index] == 1) == {9: 2, 10: 2}
        seen.update(index for index in epoch if classes[index] == 0)
    assert len(seen) > 4, "another part of the common class in each epoch"


@pytest.mark.parametrize("num_scans", [8, 9, 11])
def test_processes_together_take_the_steps_of_one_with_the_batches_of_all(num_scans):
    alone = list(ResumableBatchSampler(num_scans, 4, seed=3))
    shares = []
    for process in range(2):
        sampler = ResumableBatchSampler(num_scans, 2, seed=3)
        sampler.rank_and_world_size = (process, 2)
        shares.append(list(sampler))
    assert len(shares[0]) == len(shares[1]) == len(alone)
    for batch, first, second in zip(alone, *shares, strict=True):
        assert len(first) == len(second)
        assert set(batch) <= set(first) | set(second)
    assert set(chain(*shares[0], *shares[1])) == set(chain(*alone))


def test_a_scan_too_few_for_all_processes_is_validated_twice_and_none_is_left_out():
    shares = [list(SequentialBatchSampler(5, 1, rank_and_world_size=(process, 2))) for process in range(2)]
    assert shares == [[[(0, 0)], [(0, 2)], [(0, 4)]], [[(0, 1)], [(0, 3)], [(0, 4)]]]
