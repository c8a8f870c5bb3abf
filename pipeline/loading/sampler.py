"""Which scans stand in which batch: a function of (seed, epoch), so that a resumed run goes on where it stopped."""

from collections.abc import Callable, Iterator

import numpy as np
from torch.utils.data import Sampler

Key = tuple[int, int]
"""(epoch, index of the scan in its table)"""


class EpochBatches(Sampler[list[Key]]):
    """Batches of (epoch, scan index), each epoch in an order of its own; the last batch may be smaller.

    `batches_done` says how many batches of the whole training are behind us whenever an iterator is made: from there it
    goes on to the end of that epoch. Lightning makes the first iterator of a resumed run before any hook in which an
    epoch could be set, so the sampler asks instead of being told.
    """

    def __init__(
        self, num_scans: int, batch_size: int, seed: int, batches_done: Callable[[], int] | None = None
    ) -> None:
        self.num_scans = num_scans
        self.batch_size = batch_size
        self.seed = seed
        self.batches_done = batches_done or self.own_count
        self._started = 0

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return -(-self.num_scans // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, done = divmod(self.batches_done(), len(self))
        self._started = (epoch + 1) * len(self)
        order = np.random.default_rng([self.seed, epoch]).permutation(self.num_scans).tolist()
        for start in range(done * self.batch_size, self.num_scans, self.batch_size):
            yield [(epoch, index) for index in order[start : start + self.batch_size]]

    def start_at(self, batches_done: int) -> None:
        """Begin the next iterator after so many batches; for loops that keep no count of their own."""
        self._started = batches_done

    def own_count(self) -> int:
        return self._started


class InOrder(Sampler[list[Key]]):
    """Batches of all scans in the order of the table, for validation and test."""

    def __init__(self, num_scans: int, batch_size: int) -> None:
        self.num_scans = num_scans
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-self.num_scans // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        for start in range(0, self.num_scans, self.batch_size):
            yield [(0, index) for index in range(start, min(start + self.batch_size, self.num_scans))]
