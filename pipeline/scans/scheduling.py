"""Who does the work: this process, several processes here, or a Dask cluster."""

import functools
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


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
            yield from shared(pool, function, jobs)
        except BrokenProcessPool:
            raise ValueError(
                f"{workers} processes: one was killed, most often for memory; run again with fewer --workers, "
                "what is finished is kept."
            ) from None


def shared(pool: Executor, function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
    """The pool works from the front, this process from the back: it need not wait while the others start."""
    waiting = {pool.submit(function, job): job for job in jobs}
    try:
        for future, job in reversed(list(waiting.items())):
            if future.cancel():
                del waiting[future]
                yield function(job)
            for done in [other for other in waiting if other.done()]:
                del waiting[done]
                yield done.result()
        for future in as_completed(waiting):
            yield future.result()
    finally:
        # An interrupt must not wait for thousands of scans.
        pool.shutdown(wait=True, cancel_futures=True)


def home(function: Callable[[Job], Result]) -> str:
    """The module that defines a function, also one with some of its arguments filled in."""
    return function.func.__module__ if isinstance(function, functools.partial) else function.__module__


def clean_processes(module: str) -> multiprocessing.context.BaseContext:
    """A forkserver that has imported `module` and the main one once for all its children; else fresh processes."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module, "__main__"])
    return context


def on_cluster(function: Callable[[Job], Result], jobs: Sequence[Job], scheduler: str) -> Iterator[Result]:
    from distributed import Client
    from distributed import as_completed as completed_on_cluster

    try:
        client = Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise ValueError(f"--scheduler {scheduler}: no Dask scheduler answers there ({error}).") from None
    with client:
        # Not pure: the function writes files, so an earlier result must not stand for it.
        for future in completed_on_cluster(client.map(function, list(jobs), pure=False)):
            yield future.result()
