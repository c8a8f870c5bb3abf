"""Who does the work: this process, several processes here, or a Dask cluster."""

import functools
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")
AHEAD = 2
"""Jobs handed to each other process at a time: more would leave it with a queue when this one has run out."""


def run_jobs(
    function: Callable[[Job], Result], jobs: Sequence[Job], *, workers: int = 1, scheduler: str | None = None
) -> Iterator[Result]:
    """Results as they come. `function`, jobs and results are pickled, except in one process.

    `scheduler` is the address of a Dask scheduler, whose workers see the same files; `workers` counts processes here.
    """
    if scheduler is not None:
        yield from on_cluster(function, jobs, scheduler)
    elif workers > 1 and len(jobs) > 1:
        yield from in_processes(function, jobs, min(workers, len(jobs)))
    else:
        yield from map(function, jobs)


def in_processes(function: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[Result]:
    """This process and others, which inherit nothing of it, so that threads here cannot hang them."""
    with ProcessPoolExecutor(workers - 1, mp_context=clean_processes(home(function))) as pool:
        try:
            yield from shared(pool, function, jobs, workers - 1)
        except BrokenProcessPool:
            raise ValueError(
                f"{workers} processes: one was killed, most often for memory; run again with fewer --workers, "
                "what is finished is kept."
            ) from None


def shared(pool: Executor, function: Callable[[Job], Result], jobs: Sequence[Job], others: int) -> Iterator[Result]:
    """Every other process has a job and the next one at hand; this one works too, alone until they are up."""
    waiting, running = deque(jobs), set()
    with ThreadPoolExecutor(1) as thread:
        started = thread.submit(start, pool, others)
        try:
            while waiting or running:
                while started.done() and len(running) < num_at_hand(len(waiting), others):
                    running.add(pool.submit(function, waiting.popleft()))
                if waiting:
                    yield function(waiting.popleft())
                done, running = wait(running, timeout=0 if waiting else None, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            # An interrupt must not wait for thousands of scans.
            pool.shutdown(wait=True, cancel_futures=True)


def start(pool: Executor, others: int) -> None:
    """Bring the processes up; the first waits until a forkserver has imported its module, about a second."""
    for _ in range(others):
        pool.submit(cores_at_hand)


def num_at_hand(num_waiting: int, others: int) -> int:
    """How many jobs the other processes should have: at the end none two while this one has none."""
    return AHEAD * others if num_waiting > others else others if num_waiting else 0


def cores_at_hand() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def home(function: Callable[[Job], Result]) -> str:
    """The module that defines a function, also one with some of its arguments filled in."""
    return function.func.__module__ if isinstance(function, functools.partial) else function.__module__


def clean_processes(module: str) -> multiprocessing.context.BaseContext:
    """A forkserver that has imported `module` for all its children, where its search path has it; else fresh processes.

    In Python 3.11 that path is the environment's and the current folder, not this process's; and each child imports
    the main module for itself, which for a stage is small.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
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
