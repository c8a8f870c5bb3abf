"""A fold's scans for Lightning."""

import pandas as pd
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Sampler

from pipeline.core.columns import LABEL, SCAN_ID
from pipeline.data.dataset import Augment, Batch, ScanDataset, as_is
from pipeline.data.sampler import EpochBatches, InOrder, Key, Share
from pipeline.imaging.intensity import Deciles
from pipeline.store.store import Store


class ScanDataModule(LightningDataModule):
    """Batches of `train`, `val` and `test`, tables with columns scan_id and label (class index from 0).

    Training order and augmentation are functions of (seed, epoch, scan). A fit that resumes, at an epoch's end or in
    its middle, goes on with the next batch of the uninterrupted run, with any number of workers. `balanced` has each
    class come as often as the others.
    """

    def __init__(
        self,
        store: Store,
        *,
        train: pd.DataFrame,
        val: pd.DataFrame,
        test: pd.DataFrame | None = None,
        batch_size: int,
        num_workers: int = 0,
        seed: int = 0,
        augment: Augment | None = None,
        balanced: bool = False,
        standards: tuple[Deciles, ...] = (),
    ) -> None:
        super().__init__()
        tables = {"train": train, "val": val, "test": test if test is not None else val.iloc[:0]}
        refuse_missing(store, tables)
        self.tables = tables
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.datasets = {
            split: ScanDataset(
                store, table, augment=augment if split == "train" else None, seed=seed, standards=standards
            )
            for split, table in tables.items()
        }
        classes = train[LABEL].tolist() if balanced else None
        self.sampler = EpochBatches(len(train), batch_size, seed, self.batches_done, classes)

    def batches_done(self) -> int:
        """Training batches behind us, in the trainer's own count, which its checkpoints restore."""
        if self.trainer is None:
            return self.sampler.own_count()
        return self.trainer.fit_loop.epoch_loop.batch_progress.total.processed

    @property
    def share(self) -> Share:
        """The part of each step's scans that falls to this process."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def train_dataloader(self) -> DataLoader[Batch]:
        self.sampler.share = self.share
        return self.loader("train", self.sampler)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self.in_order("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        return self.in_order("test")

    def in_order(self, split: str) -> DataLoader[Batch]:
        """All scans of a split as they stand in the table, unaugmented."""
        return self.loader(split, InOrder(len(self.tables[split]), self.batch_size, self.share))

    def loader(self, split: str, batches: Sampler[list[Key]]) -> DataLoader[Batch]:
        return ResumableLoader(
            self.datasets[split],
            batch_sampler=batches,
            collate_fn=as_is,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )


class ResumableLoader(DataLoader[Batch]):
    """A loader whose position the sampler knows; Lightning takes these methods as a sign that it can resume."""

    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Nothing to restore."""


def refuse_missing(store: Store, tables: dict[str, pd.DataFrame]) -> None:
    """All scans must be in the store before the first epoch, not in its middle."""
    stored = set(store.scan_ids())
    missing = sorted({scan_id for table in tables.values() for scan_id in table[SCAN_ID]} - stored)
    if missing:
        raise FileNotFoundError(
            f"{store.folder}: {len(missing)} scans are not in the store, such as '{missing[0]}'; "
            "'dvc repro preprocess' writes them."
        )
