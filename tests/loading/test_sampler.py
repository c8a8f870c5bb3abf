from itertools import chain

import pytest

from pipeline.loading.sampler import EpochBatches, InOrder


def epochs_of(sampler: EpochBatches, num_epochs: int) -> list[list[tuple[int, int]]]:
    return [batch for _ in range(num_epochs) for batch in sampler]


@pytest.mark.parametrize(("num_scans", "batch_size"), [(10, 3), (8, 4), (5, 8), (1, 1)])
def test_every_scan_comes_once_an_epoch(num_scans, batch_size):
    sampler = EpochBatches(num_scans, batch_size, seed=0)
    for epoch in range(3):
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert sorted(chain(*batches)) == [(epoch, index) for index in range(num_scans)]


def test_order_changes_with_epoch_and_seed_only():
    first, again, other = (EpochBatches(50, 4, seed=seed) for seed in (1, 1, 2))
    epochs = [[key[1] for key in chain(*first)] for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert [key[1] for key in chain(*again)] == epochs[0]
    assert [key[1] for key in chain(*other)] != epochs[0]


@pytest.mark.parametrize("batches_done", range(12))
def test_started_later_it_goes_on_as_the_whole_run_would(batches_done):
    whole = epochs_of(EpochBatches(10, 3, seed=5), 3)
    later = EpochBatches(10, 3, seed=5)
    later.start_at(batches_done)
    assert epochs_of(later, 3 - batches_done // 4) == whole[batches_done:]


def test_the_count_of_someone_else_decides_where_to_go_on():
    whole = epochs_of(EpochBatches(10, 3, seed=5), 2)
    done = 0
    sampler = EpochBatches(10, 3, 5, lambda: done)
    assert list(sampler) == whole[:4]
    done = 6
    assert list(sampler) == whole[6:8]


def test_in_order_is_the_order_of_the_table():
    sampler = InOrder(5, 2)
    assert list(sampler) == [[(0, 0), (0, 1)], [(0, 2), (0, 3)], [(0, 4)]]
    assert len(sampler) == 3
