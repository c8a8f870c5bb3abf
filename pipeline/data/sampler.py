"""Which scans are in which batch: a function of (seed, epoch), so that an interrupted run resumes exactly."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

Key = tuple[int, int]
"""(epoch, index of the scan in its table)"""
RankAndWorldSize = tuple[int, int]
"""(rank from 0, number of processes) that train together"""


class ResumableBatchSampler(Sampler[list[Key]]):
    """Batches of (epoch, scan index), each epoch in an order of its own; the last batch may be smaller.

    `batches_done` returns the number of batches trained so far whenever an iterator is made: the iterator continues
    there to the end of that epoch. Lightning makes the first iterator of a resumed run before any hook in which an
    epoch could be set, so the sampler asks.

    `classes`, the class of each scan, balances the draw: all classes come equally often. `rank_and_world_size` divides
    the scans of each step among processes, which together train as one process would on all of them.
    """

    def __init__(
        self,
        num_scans: int,
        batch_size: int,
        seed: int,
        batches_done: Callable[[], int] | None = None,
        classes: Sequence[int] | None = None,
    ) -> None:
        self.num_scans = num_scans
        self.classes = None if classes is None else np.asarray(classes)
        self.batch_size = batch_size
        self.seed = seed
        self.batches_done = batches_done or self.count_batches
        self.rank_and_world_size = (0, 1)
        self._started = 0

    def __len__(self) -> int:
        """Batches of one rank in a whole epoch."""
        return -(-self.num_scans // (self.batch_size * self.rank_and_world_size[1]))

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, done = divmod(self.batches_done(), len(self))
        self._started = (epoch + 1) * len(self)
        order = self.order_of(epoch)
        rank, world_size = self.rank_and_world_size
        step = self.batch_size * world_size
        for start in range(done * step, len(order), step):
            yield [(epoch, index) for index in order[start : start + step][rank::world_size]]

    def order_of(self, epoch: int) -> list[int]:
        """Scan indices of a whole epoch, over all processes; each gets as many, so the first ones may repeat."""
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(self.num_scans) if self.classes is None else balanced_order(self.classes, rng)
        return [*order.tolist(), *order[: -self.num_scans % self.rank_and_world_size[1]].tolist()]

    def seek(self, batches_done: int) -> None:
        """Start the next iterator after so many batches; for loops that keep no count of their own."""
        self._started = batches_done

    def count_batches(self) -> int:
        return self._started


def balanced_order(classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As many indices as scans, each class as often as the others but for one scan.

    All scans of a rare class come several times each; of a common class a part comes, another part in each epoch.
    """
    members = [np.flatnonzero(classes == name) for name in np.unique(classes)]
    quotas = np.full(len(members), len(classes) // len(members))
    quotas[rng.permutation(len(members))[: len(classes) % len(members)]] += 1
    drawn = [np.resize(rng.permutation(own), quota) for own, quota in zip(members, quotas, strict=True)]
    return rng.permutation(np.concatenate(drawn))


class SequentialBatchSampler(Sampler[list[Key]]):
    """Batches of all scans in the order of the table, for validation and test."""

    def __init__(self, num_scans: int, batch_size: int, rank_and_world_size: RankAndWorldSize = (0, 1)) -> None:
        self.num_scans = num_scans
        self.batch_size = batch_size
        self.rank_and_world_size = rank_and_world_size

    def __len__(self) -> int:
        return -(-self.num_scans // (self.batch_size * self.rank_and_world_size[1]))

    def __iter__(self) -> Iterator[list[Key]]:
        rank, world_size = self.rank_and_world_size
        # Every rank takes part in every step: if the last scans do not suffice for all, the last one repeats.
        rows = [min(row, self.num_scans - 1) for row in range(-(-self.num_scans // world_size) * world_size)]
        step = self.batch_size * world_size
        for start in range(0, len(rows), step):
            yield [(0, row) for row in rows[start : start + step][rank::world_size]]
