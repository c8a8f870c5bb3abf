import pickle

import numpy as np
import pytest
import torch

from pipeline.data.dataset import ScanDataset
from pipeline.data.rng import scan_rng
from tests.data.store_making import make_store


def shift(volume, rng):
    return volume + rng.random()


def fail(volume, rng):
    raise RuntimeError("nothing to see")


def test_a_batch_holds_the_stores_voxels_and_the_tables_labels(tmp_path):
    store, table = make_store(tmp_path, 4)
    batch = ScanDataset(store, table).__getitems__([(0, 3), (0, 0)])
    assert batch["scan_id"] == ["s3", "s0"]
    assert batch["label"].tolist() == [1, 0] and batch["label"].dtype == torch.int64
    assert batch["index"].tolist() == [3, 0]
    assert batch["volume"].shape == (2, 1, 8, 9, 10) and batch["volume"].dtype == torch.float32
    for row, scan_id in enumerate(batch["scan_id"]):
        np.testing.assert_array_equal(batch["volume"][row].numpy(), store.read(scan_id)[0])


def test_a_loading_process_is_sent_no_voxels_and_reads_the_same(tmp_path):
    store, table = make_store(tmp_path, 64)
    dataset, keys = ScanDataset(store, table), [(0, index) for index in range(64)]
    unused, volume = pickle.dumps(dataset), dataset.__getitems__(keys)["volume"]
    assert len(pickle.dumps(dataset)) == len(unused)
    assert torch.equal(pickle.loads(pickle.dumps(dataset)).__getitems__(keys)["volume"], volume)


def test_augmentation_depends_on_seed_epoch_and_scan_alone(tmp_path):
    store, table = make_store(tmp_path, 4)
    volume = ScanDataset(store, table, augment=shift, seed=1).__getitems__([(2, 1)])["volume"]

    def same_as(dataset: ScanDataset, keys: list[tuple[int, int]]) -> bool:
        return torch.equal(dataset.__getitems__(keys)["volume"][-1], volume[0])

    assert same_as(ScanDataset(store, table, augment=shift, seed=1), [(2, 3), (2, 1)])
    assert same_as(ScanDataset(store, table[1:], augment=shift, seed=1), [(2, 0)])
    assert not same_as(ScanDataset(store, table, augment=shift, seed=2), [(2, 1)])
    assert not same_as(ScanDataset(store, table, augment=shift, seed=1), [(3, 1)])


def test_two_scans_of_one_epoch_draw_differently():
    draws = {scan_rng(0, 0, scan_id).random() for scan_id in ("a", "b", "c")}
    assert len(draws) == 3


def test_a_scan_that_fails_is_named(tmp_path):
    store, table = make_store(tmp_path, 2)
    with pytest.raises(ValueError, match="scan 's1', epoch 4: it could not be loaded: nothing to see"):
        ScanDataset(store, table, augment=fail).__getitems__([(4, 1)])
