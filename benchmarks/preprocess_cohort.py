"""Time preprocessing of a cohort: by two processes against one, and for one scan more in a store that is there.

Heavy libraries are imported late, since worker processes import this file too.
"""

import logging
import statistics
import time
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.t1_like import PLAN, write_scan
from benchmarks.timing import Ratio
from pipeline.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

NUM_FILES = 8
"""Different scans on disk; they stand for all."""
ROUNDS = 3
"""Each gives its own ratios, for a machine's speed drifts between rounds."""
PATIENCE_S = 1800
"""After this long a process that others wait for has failed."""


def time_cohort(folder: Path, num_scans: int) -> tuple[dict[str, float], list[Ratio]]:
    """Median seconds of a cohort by one process, by two of a pool, and by two that were started by hand; their ratios.

    The last is what the machine itself gives, since its processors share caches and memory: the rest of the way from
    there to the pool's is what the scheduling costs, with the start of its other process.
    """
    raw = folder / "raw"
    raw.mkdir()
    for seed in range(NUM_FILES):
        write_scan(raw / f"{seed}.nii.gz", seed)
    cohort = table(num_scans)

    def seconds(*parts: "pd.DataFrame", workers: int = 1) -> float:
        with TemporaryDirectory(dir=folder) as stores:
            return time_processes(parts, raw, Path(stores), workers)

    rounds = [(seconds(cohort), seconds(cohort, workers=2), seconds(cohort[::2], cohort[1::2])) for _ in range(ROUNDS)]
    alone, pool, by_hand = (statistics.median(column) for column in zip(*rounds, strict=True))
    one_new_scan = time_one_new_scan(raw, Store(folder / "store"), num_scans)
    times = {"cohort_1_worker": alone, "cohort_2_workers": pool, "cohort_2_by_hand": by_hand}
    return times | {"one_new_scan_1_worker": one_new_scan}, [
        Ratio("two_workers_vs_one", statistics.median(one / two for one, two, _ in rounds), at_least=1.8),
        Ratio("two_started_by_hand_vs_one", statistics.median(one / two for one, _, two in rounds)),
        Ratio("one_new_scan_share", one_new_scan / alone, at_most=0.03),
    ]


def table(num_scans: int) -> "pd.DataFrame":
    """One row a scan, as cohort.csv has it."""
    import pandas as pd

    rows = range(num_scans)
    return pd.DataFrame({"scan_id": [f"s{row}" for row in rows], "path": [f"{row % NUM_FILES}.nii.gz" for row in rows]})


def time_processes(parts: Sequence["pd.DataFrame"], raw: Path, stores: Path, workers: int) -> float:
    """Seconds of processes that prepare a part each, in a store each, from when all have imported what they need."""
    context = get_context("spawn")
    barrier = context.Barrier(len(parts) + 1, timeout=PATIENCE_S)
    processes = [
        context.Process(target=prepare, args=(part, raw, stores / str(number), workers, barrier))
        for number, part in enumerate(parts)
    ]
    for process in processes:
        process.start()
    barrier.wait()
    start = time.perf_counter()
    barrier.wait()
    seconds = time.perf_counter() - start
    for process in processes:
        process.join()
    return seconds


def prepare(part: "pd.DataFrame", raw: Path, store: Path, workers: int, barrier: Barrier) -> None:
    """Prepare scans between two meetings at the barrier, as a command would: other processes are started in between."""
    from pipeline.store.build import preprocess_cohort

    logging.disable(logging.WARNING)
    barrier.wait()
    preprocess_cohort(part, raw, PLAN, Store(store), workers=workers)
    barrier.wait()


def time_one_new_scan(raw: Path, store: Store, num_scans: int) -> float:
    """Median seconds of one process for one scan more, with file hashes in the table, as ingest leaves them there."""
    from pipeline.store.build import preprocess_cohort

    cohort = table(num_scans + 1)
    preprocess_cohort(cohort[:-1], raw, PLAN, store, workers=2)
    known = [store.record(f"s{number}").source_sha256 for number in range(NUM_FILES)]
    cohort = cohort.assign(file_sha256=[known[row % NUM_FILES] for row in range(len(cohort))])
    taken = []
    for _ in range(ROUNDS):
        store.path(f"s{num_scans}").unlink(missing_ok=True)
        start = time.perf_counter()
        preprocess_cohort(cohort, raw, PLAN, store)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)
