"""Scans of the store as batches of tensors. Axes: B batch, D H W depth height width."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypedDict

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.core.columns import LABEL, SCAN_ID
from pipeline.data.rng import scan_rng
from pipeline.data.sampler import Key
from pipeline.imaging.intensity import Deciles, to_standards
from pipeline.store.nifti_entry import Entry
from pipeline.store.store import Store

MOST_MAPPED = 16_384
"""Scans that stay mapped: an operating system allows a process some 65,000 maps."""
Augment = Callable[[Tensor, np.random.Generator], Tensor]
"""A random change of one volume (C, D, H, W)."""


class Batch(TypedDict):
    """What a network is fed."""

    volume: Tensor
    """(B, C, D, H, W) float32."""
    label: Tensor
    """(B,) int64, index of the class; (B, K) float32 of zeros and ones where several may be right."""
    scan_id: list[str]
    index: Tensor
    """(B,) int64, row in the table."""


class ScanDataset(Dataset[Batch]):
    """Volumes of `scans` (columns scan_id, label as class index or tuple of zeros and ones), a batch at a time.

    Intensities are matched to `standards` where a fold has learnt any.

    Files are mapped once and stay so. Voxels are decoded from the map straight into the batch; there is no copy before
    augmentation, whose random choices depend on seed, epoch and scan alone.
    """

    def __init__(
        self,
        store: Store,
        scans: pd.DataFrame,
        *,
        augment: Augment | None = None,
        seed: int = 0,
        standards: tuple[Deciles, ...] = (),
    ) -> None:
        self.store = store
        self.scan_ids = scans[SCAN_ID].tolist()
        self.labels = torch.tensor(scans[LABEL].tolist())
        self.augment = augment
        self.seed = seed
        self.standards = standards
        self.mapped: dict[str, Entry] = {}

    def __getstate__(self) -> dict[str, object]:
        """For loading processes, which map the files themselves."""
        return self.__dict__ | {"mapped": {}}

    def __len__(self) -> int:
        return len(self.scan_ids)

    def __getitems__(self, keys: list[Key]) -> Batch:
        """The batch of these (epoch, index) keys; torch's DataLoader asks for whole batches by this name."""
        rows = torch.tensor([index for _, index in keys])
        first = self.entry(self.scan_ids[keys[0][1]])
        volume = torch.empty((len(keys), *first.codes.shape))
        with one_thread():
            for target, (epoch, index) in zip(volume, keys, strict=True):
                self.load(self.scan_ids[index], epoch, target)
        return Batch(
            volume=volume, label=self.labels[rows], scan_id=[self.scan_ids[index] for index in rows], index=rows
        )

    def entry(self, scan_id: str) -> Entry:
        """The stored scan, mapped at its first use."""
        found = self.mapped.get(scan_id) or self.store.entry(scan_id)
        if len(self.mapped) < MOST_MAPPED:
            self.mapped[scan_id] = found
        return found

    def load(self, scan_id: str, epoch: int, target: Tensor) -> None:
        """Write one scan, augmented, into `target` (C, D, H, W)."""
        try:
            self.entry(scan_id).decode(out=target.numpy())
            to_standards(target.numpy(), self.standards)
            if self.augment is not None:
                target.copy_(self.augment(target, scan_rng(self.seed, epoch, scan_id)))
        except (ValueError, RuntimeError, OSError) as error:
            raise ValueError(f"scan '{scan_id}', epoch {epoch}: it could not be loaded: {error}") from error


@contextmanager
def one_thread() -> Iterator[None]:
    """Work on one thread, as loading processes do: sums and Fourier transforms round differently on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def as_is(batch: Batch) -> Batch:
    """Collation of what is a batch already."""
    return batch
