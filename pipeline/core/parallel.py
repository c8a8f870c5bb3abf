"""Run jobs in this process, in several processes of this machine, or on a Dask cluster.

joblib would not be shorter: this process works from the first job on, and starts others only if the work is long
enough; joblib's waits for its workers, each of which imports MONAI first.
"""

import functools
import logging
import multiprocessing
import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from threading import Event
from typing import TypeVar

log = logging.getLogger(__name__)
Job = TypeVar("Job")
Result = TypeVar("Result")
START_S = 5.0
"""Seconds that other processes take to start; shorter work is done here alone."""
PROBE_JOBS, PROBE_SECONDS = 5, 1.0
"""Jobs, or seconds of jobs, after which the duration of a job is known."""
OVERSUBSCRIBED = 1.5
"""Load of the last minute per CPU from which a warning is due; an earlier stage alone leaves up to 1."""
JOBS_PER_WORKER = 2
"""Jobs submitted to each other process at a time: more would queue there while this process has none left."""


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
        yield from run_on_cluster(function, jobs, scheduler)
    elif workers > 1 and len(jobs) > 1:
        yield from run_in_processes(function, jobs, min(workers, len(jobs)), preload)
    else:
        yield from map(function, jobs)


def run_in_processes(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, preload: tuple[str, ...]
) -> Iterator[Result]:
    """Results of this process and, if the work is long, of others, which inherit no threads that could hang them."""
    waiting = deque(jobs)
    seconds_per_job = yield from run_here_while_short(function, waiting)
    if not waiting:
        return
    with ProcessPoolExecutor(workers - 1, mp_context=process_context([module_of(function), *preload])) as pool:
        try:
            yield from run_with_pool(pool, function, waiting, workers - 1, max_wait_s(seconds_per_job))
        except BrokenProcessPool:
            raise ValueError(killed_message(workers)) from None


def map_ahead(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    workers: int,
    preload: tuple[str, ...] = (),
    initializer: Callable[[], None] | None = None,
) -> Iterator[Result]:
    """Results in the order of the jobs; other processes do the next few while this one works with a result.

    What is done ahead is bounded, so memory does not grow with the number of jobs. `initializer` runs once in each
    process. Everything is pickled.
    """
    waiting = iter(jobs)
    context = process_context([module_of(function), *preload])
    with ProcessPoolExecutor(workers, mp_context=context, initializer=initializer) as pool:
        try:
            ahead = deque(pool.submit(function, job) for job in islice(waiting, JOBS_PER_WORKER * workers))
            while ahead:
                result = ahead.popleft().result()
                ahead.extend(pool.submit(function, job) for job in islice(waiting, 1))
                yield result
        except BrokenProcessPool:
            raise ValueError(killed_message(workers)) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def killed_message(workers: int) -> str:
    return (
        f"{workers} processes: one was killed, most often for memory; run again with fewer --workers, what is finished "
        "is kept."
    )


def max_wait_s(seconds_per_job: float) -> float:
    """Seconds to wait for the first other process: at most one job, which would keep this process from serving it."""
    return min(seconds_per_job, START_S)


def run_here_while_short(function: Callable[[Job], Result], waiting: deque[Job]) -> Generator[Result, None, float]:
    """Do jobs of `waiting` here until it is empty, or until the rest takes longer than other processes need to start.

    Returns the seconds per job.
    """
    recent: deque[float] = deque(maxlen=PROBE_JOBS)
    while waiting:
        began = time.monotonic()
        result = function(waiting.popleft())
        recent.append(time.monotonic() - began)
        yield result
        is_known = len(recent) == PROBE_JOBS or sum(recent) > PROBE_SECONDS
        if is_known and statistics.median(recent) * len(waiting) > START_S:
            break
    return statistics.median(recent)


def run_with_pool(
    pool: Executor, function: Callable[[Job], Result], waiting: deque[Job], others: int, wait_s: float
) -> Iterator[Result]:
    """Each other process has a job and the next one; this one works too, and waits at most `wait_s` for the others."""
    running, up = set(), Event()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(start_workers, pool, others, up)
        up.wait(wait_s)
        try:
            while waiting or running:
                while up.is_set() and len(running) < num_submitted(len(waiting), others):
                    running.add(pool.submit(function, waiting.popleft()))
                if waiting:
                    yield function(waiting.popleft())
                done, running = wait(running, timeout=0 if waiting else None, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            # An interrupt must not wait for thousands of scans.
            pool.shutdown(wait=True, cancel_futures=True)


def start_workers(pool: Executor, others: int, up: Event) -> None:
    """Start the processes, and set `up` when one answers: each imports the main module, which may be a long script."""
    for _ in range(others):
        pool.submit(available_cpus).add_done_callback(lambda answer: up.set())


def num_submitted(num_waiting: int, others: int) -> int:
    """How many jobs the other processes should have: at the end at most one each."""
    return JOBS_PER_WORKER * others if num_waiting > others else others if num_waiting else 0


def available_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def warn_if_oversubscribed(stage: str) -> None:
    """Say once that other work slows this one down: threads that wait for each other lose most of their time."""
    load, cpus = os.getloadavg()[0], os.cpu_count() or 1
    if load > OVERSUBSCRIBED * cpus:
        log.warning(
            "%s: other processes keep this machine busy (load %.1f on %d CPUs), which can slow training tenfold; stop "
            "them, or export OMP_NUM_THREADS=1 or OMP_WAIT_POLICY=passive.", stage, load, cpus,
        )  # fmt: skip


def module_of(function: Callable[[Job], Result]) -> str:
    """The module that defines a function or the function of a partial."""
    return function.func.__module__ if isinstance(function, functools.partial) else function.__module__


def process_context(modules: list[str]) -> multiprocessing.context.BaseContext:
    """A forkserver that has imported `modules` for all its children, if its search path has them; else fresh processes.

    In Python 3.11 that path is the environment's and the current folder, not this process's; and each child imports
    the main module for itself, which for a stage is small.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(modules)
    return context


def run_on_cluster(function: Callable[[Job], Result], jobs: Sequence[Job], scheduler: str) -> Iterator[Result]:
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
