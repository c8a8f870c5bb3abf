import pickle

import monai.data
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, RandGaussianNoise, RandShiftIntensity, Resize

from pipeline.data.augmentation.pipeline import augmentation_transforms
from pipeline.data.augmentation.registry import AugmentationSettings
from pipeline.data.dataset import ScanDataset, collate
from pipeline.data.rng import scan_seed
from tests.data.store_making import make_store

STRONG = AugmentationSettings(
    strength="strong", spacing_mm=(1.0, 1.0, 1.0), flip_axis=2, is_deformable=True, is_mr=True, crop_share=0.2
)


def shift() -> Compose:
    return Compose([RandShiftIntensity(5, prob=1)])


def fail(image):
    raise RuntimeError("nothing to see")


def test_a_sample_is_a_dictionary_with_a_meta_tensor_on_its_grid(tmp_path):
    store, table = make_store(tmp_path, 4)
    dataset = ScanDataset(store, table)
    assert isinstance(dataset, monai.data.Dataset)
    sample = dataset[3]
    voxels, affine = store.read("s3")
    assert isinstance(sample["image"], MetaTensor) and sample["scan_id"] == "s3"
    assert sample["label"] == 1 and sample["label"].dtype == torch.int64
    np.testing.assert_array_equal(sample["image"].numpy(), voxels)
    np.testing.assert_array_equal(sample["image"].affine.numpy(), affine)


def test_samples_and_whole_batches_have_the_same_bits(tmp_path):
    store, table = make_store(tmp_path, 12)
    standards = (tuple(np.linspace(0.1, 0.9, 9).tolist()),)
    augment = augmentation_transforms(STRONG, [RandGaussianNoise(prob=0.5)])
    dataset = ScanDataset(store, table, augment=augment, seed=4, standards=standards)
    keys = [(epoch, index) for epoch in range(3) for index in range(12)]
    together, one_by_one = dataset.__getitems__(keys), collate([dataset[key] for key in keys])
    assert together.keys() == one_by_one.keys()
    for name, value in together.items():
        other = one_by_one[name]
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other
    plain = ScanDataset(store, table, standards=standards).__getitems__(keys)
    changed = [not torch.equal(one, other) for one, other in zip(together["image"], plain["image"], strict=True)]
    assert sum(changed) > len(keys) / 2


def test_a_batch_holds_the_stores_voxels_and_the_tables_labels(tmp_path):
    store, table = make_store(tmp_path, 4)
    batch = ScanDataset(store, table).__getitems__([(0, 3), (0, 0)])
    assert batch["scan_id"] == ["s3", "s0"]
    assert batch["label"].tolist() == [1, 0] and batch["label"].dtype == torch.int64
    assert batch["index"].tolist() == [3, 0]
    assert batch["image"].shape == (2, 1, 8, 9, 10) and batch["image"].dtype == torch.float32
    for row, scan_id in enumerate(batch["scan_id"]):
        np.testing.assert_array_equal(batch["image"][row].numpy(), store.read(scan_id)[0])


def test_a_loading_process_is_sent_no_voxels_and_reads_the_same(tmp_path):
    store, table = make_store(tmp_path, 64)
    dataset, keys = ScanDataset(store, table), [(0, index) for index in range(64)]
    unused, volume = pickle.dumps(dataset), dataset.__getitems__(keys)["image"]
    assert len(pickle.dumps(dataset)) == len(unused)
    assert torch.equal(pickle.loads(pickle.dumps(dataset)).__getitems__(keys)["image"], volume)


def test_augmentation_depends_on_seed_epoch_and_scan_alone(tmp_path):
    store, table = make_store(tmp_path, 4)
    volume = ScanDataset(store, table, augment=shift(), seed=1).__getitems__([(2, 1)])["image"]

    def same_as(dataset: ScanDataset, keys: list[tuple[int, int]]) -> bool:
        return torch.equal(dataset.__getitems__(keys)["image"][-1], volume[0])

    assert same_as(ScanDataset(store, table, augment=shift(), seed=1), [(2, 3), (2, 1)])
    assert same_as(ScanDataset(store, table[1:], augment=shift(), seed=1), [(2, 0)])
    assert not same_as(ScanDataset(store, table, augment=shift(), seed=2), [(2, 1)])
    assert not same_as(ScanDataset(store, table, augment=shift(), seed=1), [(3, 1)])


def test_two_scans_of_one_epoch_draw_differently():
    draws = {scan_seed(0, 0, scan_id) for scan_id in ("a", "b", "c")}
    assert len(draws) == 3


def test_a_scan_that_fails_is_named(tmp_path):
    store, table = make_store(tmp_path, 2)
    with pytest.raises(ValueError, match="scan 's1', epoch 4: it could not be loaded: nothing to see"):
        ScanDataset(store, table, augment=Compose([fail])).__getitems__([(4, 1)])


def test_a_transform_that_changes_the_shape_is_rejected(tmp_path):
    store, table = make_store(tmp_path, 2)
    dataset = ScanDataset(store, table, augment=Compose([Resize((4, 4, 4))]))
    for load in (lambda: dataset[1], lambda: dataset.__getitems__([(0, 1)])):
        with pytest.raises(ValueError, match=r"scan 's1'.*changed the shape .* from \(1, 8, 9, 10\) to \(1, 4, 4, 4\)"):
            load()
