"""Which scans stand in which batch: a function of (seed, epoch), so that a resumed run goes on where it stopped."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

Key = tuple[int, int]
"""(epoch, index of the scan in its table)"""
Share = tuple[int, int]
"""(process from 0, number of processes) that train together"""


class EpochBatches(Sampler[list[Key]]):
    """Batches of (epoch, scan index), each epoch in an order of its own; the last batch may be smaller.

    `batches_done` says how many batches of the whole training are behind us whenever an iterator is made: from there it
    goes on to the end of that epoch. Lightning makes the first iterator of a resumed run before any hook in which an
    epoch could be set, so the sampler asks instead of being told.

    `classes`, the class of each scan, has all classes come equally often. Where `share` is set, a step's scans are
    dealt to several processes, which together train as one would on all of them.
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
        self.batches_done = batches_done or self.own_count
        self.share = (0, 1)
        self._started = 0

    def __len__(self) -> int:
        """Batches of one process in a whole epoch."""
        return -(-self.num_scans // (self.batch_size * self.share[1]))

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, done = divmod(self.batches_done(), len(self))
        self._started = (epoch + 1) * len(self)
        order = self.order_of(epoch)
        process, num_processes = self.share
        step = self.batch_size * num_processes
        for start in range(done * step, len(order), step):
            yield [(epoch, index) for index in order[start : start + step][process::num_processes]]

    def order_of(self, epoch: int) -> list[int]:
        """Scan indices of a whole epoch, over all processes; each gets as many, so the first ones may come again."""
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(self.num_scans) if self.classes is None else balanced_order(self.classes, rng)
        return [*order.tolist(), *order[: -self.num_scans % self.share[1]].tolist()]

    def start_at(self, batches_done: int) -> None:
        """Begin the next iterator after so many batches; for loops that keep no count of their own."""
        self._started = batches_done

    def own_count(self) -> int:
        return self._started


def balanced_order(classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As many indices as scans, each class as often as the others to one scan.

    Scans of a rare class come in turn, several times each; of a common one a part comes, another in each epoch.
    """
    members = [np.flatnonzero(classes == name) for name in np.unique(classes)]
    quotas = np.full(len(members), len(classes) // len(members))
    quotas[rng.permutation(len(members))[: len(classes) % len(members)]] += 1
    drawn = [np.resize(rng.permutation(own), quota) for own, quota in zip(members, quotas, strict=True)]
    return rng.permutation(np.concatenate(drawn))


class InOrder(Sampler[list[Key]]):
    """Batches of all scans in the order of the table, for validation and test."""

    def __init__(self, num_scans: int, batch_size: int, share: Share = (0, 1)) -> None:
        self.num_scans = num_scans
        self.batch_size = batch_size
        self.share = share

    def __len__(self) -> int:
        return -(-self.num_scans // (self.batch_size * self.share[1]))

    def __iter__(self) -> Iterator[list[Key]]:
        process, num_processes = self.share
        # Every process takes part in every step: where the last scans do not go round, the last one comes again.
        rows = [min(row, self.num_scans - 1) for row in range(-(-self.num_scans // num_processes) * num_processes)]
        step = self.batch_size * num_processes
        for start in range(0, len(rows), step):
            yield [(0, row) for row in rows[start : start + step][process::num_processes]]
