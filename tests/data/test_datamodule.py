import ctypes
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from monai.data import DataLoader
from monai.transforms import RandGaussianNoise
from torch import nn

from pipeline.data.augmentation.pipeline import augmentation_transforms
from pipeline.data.augmentation.registry import AugmentationSettings
from pipeline.data.datamodule import ScanDataModule
from pipeline.store.store import Store
from tests.data.store_making import SHAPE, make_store

AUGMENT = augmentation_transforms(
    AugmentationSettings(strength="strong", spacing_mm=(1.0, 1.0, 1.0), flip_axis=2, is_mr=True),
    # Of MONAI's own, as a config may add it.
    [RandGaussianNoise(prob=0.5)],
)


class Linear(LightningModule):
    """The least that trains."""

    def __init__(self):
        super().__init__()
        self.network = nn.Linear(SHAPE[0] * SHAPE[1] * SHAPE[2], 2)
        self.losses = []

    def training_step(self, batch, batch_index):
        loss = nn.functional.cross_entropy(self.network(batch["image"].flatten(1) / 100), batch["label"])
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 1e-3)


class SaveAndStop(Callback):
    """Save after a batch and stop there, as a kill would."""

    def __init__(self, after: int, path: Path):
        self.after, self.path, self.seen = after, path, 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen += 1
        if self.seen == self.after:
            trainer.save_checkpoint(self.path)
            raise KeyboardInterrupt


def fit(
    store: Store, table, num_workers: int = 0, callback: Callback | None = None, resume: Path | None = None
) -> Linear:
    seed_everything(0, verbose=False)
    module = Linear()
    data = ScanDataModule(
        store, train=table, val=table[:2], batch_size=4, num_workers=num_workers, seed=3, augment=AUGMENT
    )
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        callbacks=callback,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    return module


@pytest.mark.parametrize(("stopped_after", "num_workers"), [(2, 0), (3, 0), (4, 2), (8, 0)])
def test_a_resumed_fit_equals_the_whole_one_digit_for_digit(tmp_path, stopped_after, num_workers):
    store, table = make_store(tmp_path / "store", 10)
    whole = fit(store, table)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(store, table, callback=SaveAndStop(stopped_after, tmp_path / "last.ckpt"))
    resumed = fit(store, table, num_workers, resume=tmp_path / "last.ckpt")
    assert resumed.losses == whole.losses[stopped_after:]
    assert torch.equal(resumed.network.weight, whole.network.weight)


def test_workers_do_not_change_the_batches(tmp_path):
    store, table = make_store(tmp_path, 10)
    batches = []
    for num_workers in (0, 2):
        data = ScanDataModule(store, train=table, val=table, batch_size=4, num_workers=num_workers, augment=AUGMENT)
        batches.append([batch for _ in range(2) for batch in data.train_dataloader()])
    for alone, helped in zip(*batches, strict=True):
        assert alone["scan_id"] == helped["scan_id"]
        assert torch.equal(alone["image"], helped["image"])


def test_validation_and_test_come_in_order_and_unaugmented(tmp_path):
    store, table = make_store(tmp_path, 6)
    data = ScanDataModule(store, train=table[:2], val=table[2:5], test=table[5:], batch_size=2, augment=AUGMENT)
    assert [name for batch in data.val_dataloader() for name in batch["scan_id"]] == ["s2", "s3", "s4"]
    assert isinstance(data.test_dataloader(), DataLoader)
    (batch,) = data.test_dataloader()
    assert torch.equal(batch["image"][0], torch.from_numpy(store.read("s5")[0]))


def test_scans_missing_from_the_store_are_said_before_training(tmp_path):
    store, table = make_store(tmp_path, 3)
    store.path("s1").unlink()
    with pytest.raises(FileNotFoundError, match="1 scans are not in the store, such as 's1'"):
        ScanDataModule(store, train=table, val=table, batch_size=2)


def test_making_a_loader_leaves_the_global_generator_as_it_is(tmp_path):
    store, table = make_store(tmp_path, 3)
    data = ScanDataModule(store, train=table, val=table, batch_size=2)
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    list(data.train_dataloader())
    assert torch.equal(torch.random.get_rng_state(), before)


def with_shared_memory(kilobytes: int, action: Callable[[], object]) -> str:
    """What an action raises in a fork whose /dev/shm is a new, small one; skips where that is not permitted."""
    libc = ctypes.CDLL(None, use_errno=True)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        new_user, new_mounts, recursive_private = 0x10000000, 0x20000, 0x44000
        failed = libc.unshare(new_user | new_mounts) or libc.mount(b"none", b"/", None, recursive_private, None)
        if failed or libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, f"size={kilobytes}k".encode()):
            os._exit(77)
        try:
            action()
        except ValueError as error:
            os.write(write_end, str(error).encode())
        os._exit(0)
    os.close(write_end)
    said = os.read(read_end, 1 << 16).decode()
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 77:
        pytest.skip("no permission to mount")
    return said


def test_loader_processes_with_too_little_shared_memory_are_an_error_that_says_what_to_set(tmp_path: Path) -> None:
    store, table = make_store(tmp_path, 8)

    def make(num_workers: int) -> None:
        ScanDataModule(store, train=table, val=table[:2], batch_size=4, num_workers=num_workers)

    said = with_shared_memory(16, lambda: make(2))
    assert said.startswith("training.num_workers=2: loader processes need 0.")
    assert "has 0.0 MB free; set training.num_workers=0" in said and "--shm-size" in said
    assert with_shared_memory(16, lambda: make(0)) == with_shared_memory(4096, lambda: make(2)) == ""
