"""Who does the work: this process, several processes here, or a Dask cluster."""

import functools
import multiprocessing
import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from threading import Event
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")
SHORT_S = 5.0
"""Seconds of work that are as good as done before other processes are up."""
FEW_JOBS, FEW_SECONDS = 5, 1.0
"""How many jobs tell how long the rest takes; fewer that have taken so many seconds tell it too."""
AHEAD = 2
"""Jobs handed to each other process at a time: more would leave it with a queue when this one has run out."""


def run_jobs(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    workers: int = 1,
    scheduler: str | None = None,
    preload: tuple[str, ...] = (),
) -> Iterator[Result]:
    """Results as they come. `function`, jobs and results are pickled, except in one process.

    `scheduler` is the address of a Dask scheduler, whose workers see the same files; `workers` counts processes here.
    Modules in `preload` are imported once for all processes here, beside the one that defines `function`.
    """
    if scheduler is not None:
        yield from on_cluster(function, jobs, scheduler)
    elif workers > 1 and len(jobs) > 1:
        yield from in_processes(function, jobs, min(workers, len(jobs)), preload)
    else:
        yield from map(function, jobs)


def in_processes(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, preload: tuple[str, ...]
) -> Iterator[Result]:
    """This process and, where they are worth their start, others, which inherit nothing: no thread here hangs them."""
    waiting = deque(jobs)
    seconds_a_job = yield from alone_while_short(function, waiting)
    if not waiting:
        return
    with ProcessPoolExecutor(workers - 1, mp_context=clean_processes([home(function), *preload])) as pool:
        try:
            yield from shared(pool, function, waiting, workers - 1, patience(seconds_a_job))
        except BrokenProcessPool:
            raise ValueError(
                f"{workers} processes: one was killed, most often for memory; run again with fewer --workers, "
                "what is finished is kept."
            ) from None


def patience(seconds_a_job: float) -> float:
    """Seconds to wait for the first other process: none that the next job here would hold it up for longer."""
    return min(seconds_a_job, SHORT_S)


def alone_while_short(function: Callable[[Job], Result], waiting: deque[Job]) -> Generator[Result, None, float]:
    """Take jobs from `waiting` until it is empty or known to hold more work than other processes' start.

    Returns the seconds that a job takes.
    """
    recent: deque[float] = deque(maxlen=FEW_JOBS)
    while waiting:
        began = time.monotonic()
        result = function(waiting.popleft())
        recent.append(time.monotonic() - began)
        yield result
        is_known = len(recent) == FEW_JOBS or sum(recent) > FEW_SECONDS
        if is_known and statistics.median(recent) * len(waiting) > SHORT_S:
            break
    return statistics.median(recent)


def shared(
    pool: Executor, function: Callable[[Job], Result], waiting: deque[Job], others: int, wait_s: float
) -> Iterator[Result]:
    """Every other process has a job and the next one at hand; this one works too, after `wait_s` also without them."""
    running, up = set(), Event()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(start, pool, others, up)
        up.wait(wait_s)
        try:
            while waiting or running:
                while up.is_set() and len(running) < num_at_hand(len(waiting), others):
                    running.add(pool.submit(function, waiting.popleft()))
                if waiting:
                    yield function(waiting.popleft())
                done, running = wait(running, timeout=0 if waiting else None, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            # An interrupt must not wait for thousands of scans.
            pool.shutdown(wait=True, cancel_futures=True)


def start(pool: Executor, others: int, up: Event) -> None:
    """Bring the processes up, and say when one answers: each imports the main module, which may be a long script."""
    for _ in range(others):
        pool.submit(available_cpus).add_done_callback(lambda answer: up.set())


def num_at_hand(num_waiting: int, others: int) -> int:
    """How many jobs the other processes should have: at the end none two while this one has none."""
    return AHEAD * others if num_waiting > others else others if num_waiting else 0


def available_cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def home(function: Callable[[Job], Result]) -> str:
    """The module that defines a function, also one with some of its arguments filled in."""
    return function.func.__module__ if isinstance(function, functools.partial) else function.__module__


def clean_processes(modules: list[str]) -> multiprocessing.context.BaseContext:
    """A forkserver that has imported `modules` for all its children, if its search path has them; else fresh processes.

    In Python 3.11 that path is the environment's and the current folder, not this process's; and each child imports
    the main module for itself, which for a stage is small.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(modules)
    return context


def on_cluster(function: Callable[[Job], Result], jobs: Sequence[Job], scheduler: str) -> Iterator[Result]:
    from distributed import Client, KilledWorker
    from distributed import as_completed as completed_on_cluster

    try:
        client = Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise ValueError(f"--scheduler {scheduler}: no Dask scheduler answers there ({error}).") from None
    with client:
        # Not pure: the function writes files, so an earlier result must not stand for it.
        futures = client.map(function, list(jobs), pure=False)
        try:
            for future in completed_on_cluster(futures):
                yield future.result()
        except KilledWorker as error:
            raise ValueError(
                f"--scheduler {scheduler}: workers died over one scan, the last at {error.last_worker.address}, most "
                "often for memory; give each more memory or fewer threads, what is finished is kept."
            ) from None
