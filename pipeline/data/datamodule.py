"""The scans of a fold for Lightning."""

import monai.data
import pandas as pd
import torch
from lightning import LightningDataModule
from monai.transforms import Compose
from torch.utils.data import Sampler

from pipeline.core.columns import LABEL, SCAN_ID
from pipeline.data.dataset import ScanDataset, collate
from pipeline.data.sampler import Key, RankAndWorldSize, ResumableBatchSampler, SequentialBatchSampler
from pipeline.imaging.intensity import Deciles
from pipeline.store.store import Store


class ScanDataModule(LightningDataModule):
    """Batches of `train`, `val` and `test`, tables with columns scan_id and label (class index from 0).

    Training order and augmentation are functions of (seed, epoch, scan). A fit that resumes, at the end of an epoch or
    within it, continues with the next batch of the uninterrupted run, with any number of workers. `balanced` draws each
    class as often as the others.
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
        augment: Compose | None = None,
        balanced: bool = False,
        standards: tuple[Deciles, ...] = (),
    ) -> None:
        super().__init__()
        tables = {"train": train, "val": val, "test": test if test is not None else val.iloc[:0]}
        check_stored(store, tables)
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
        self.sampler = ResumableBatchSampler(len(train), batch_size, seed, self.batches_done, classes)

    def batches_done(self) -> int:
        """Training batches so far, in the trainer's own count, which its checkpoints restore."""
        if self.trainer is None:
            return self.sampler.count_batches()
        return self.trainer.fit_loop.epoch_loop.batch_progress.total.processed

    @property
    def rank_and_world_size(self) -> RankAndWorldSize:
        """The part of each step's scans that falls to this process."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def train_dataloader(self) -> monai.data.DataLoader:
        self.sampler.rank_and_world_size = self.rank_and_world_size
        return self.loader("train", self.sampler)

    def val_dataloader(self) -> monai.data.DataLoader:
        return self.in_order("val")

    def test_dataloader(self) -> monai.data.DataLoader:
        return self.in_order("test")

    def in_order(self, split: str) -> monai.data.DataLoader:
        """All scans of a split in the order of the table, unaugmented."""
        num_scans = len(self.tables[split])
        return self.loader(split, SequentialBatchSampler(num_scans, self.batch_size, self.rank_and_world_size))

    def loader(self, split: str, batches: Sampler[list[Key]]) -> monai.data.DataLoader:
        return ResumableLoader(
            self.datasets[split],
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            # MONAI's loader draws from it and seeds it; the global generator stays as it is.
            generator=torch.Generator(),
        )


class ResumableLoader(monai.data.DataLoader):
    """A loader whose position the sampler knows; by these methods Lightning sees that it can resume."""

    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The sampler asks the trainer for its position, so there is nothing to restore."""


def check_stored(store: Store, tables: dict[str, pd.DataFrame]) -> None:
    """All scans must be in the store before the first epoch, not in its middle."""
    stored = set(store.scan_ids())
    missing = sorted({scan_id for table in tables.values() for scan_id in table[SCAN_ID]} - stored)
    if missing:
        raise FileNotFoundError(
            f"{store.folder}: {len(missing)} scans are not in the store, such as '{missing[0]}'; "
            "'dvc repro preprocess' writes them."
        )
