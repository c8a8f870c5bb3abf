import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.core.parallel import available_cpus, map_ahead, run_jobs, warn_if_oversubscribed


def kill_own_process(_: int) -> None:
    """Die, but only where a worker can be killed without the tests."""
    if multiprocessing.parent_process() is not None:
        os._exit(1)
    time.sleep(0.1)


def process_id(_: int) -> int:
    time.sleep(0.02)
    return os.getpid()


def test_every_job_gives_its_result_in_processes_as_in_one(processes_for_short_work):
    texts = ["a", "bb", "ccc", "dddd"]
    assert list(run_jobs(len, texts)) == [1, 2, 3, 4]
    assert sorted(run_jobs(len, texts, workers=2)) == [1, 2, 3, 4]


def test_a_worker_that_dies_is_said_with_what_to_do():
    with pytest.raises(ValueError, match="one was killed, most often for memory; run again with fewer --workers"):
        list(run_jobs(kill_own_process, range(100), workers=2))


def test_this_process_works_beside_the_others():
    took = set(run_jobs(process_id, range(400), workers=3))
    assert os.getpid() in took and len(took) == 3


def test_other_processes_do_their_part_of_the_work_that_tests_give_them(processes_for_short_work):
    assert len(set(run_jobs(process_id, range(4), workers=2))) == 2


def test_short_work_starts_no_other_process():
    assert set(run_jobs(process_id, range(50), workers=3)) == {os.getpid()}


SLOW_SCRIPT = """
import os, sys, time
from pathlib import Path

from pipeline.core.parallel import run_jobs

all_done, num_done = Path(sys.argv[1]), 0

def work(job):
    global num_done
    time.sleep(0.1)
    num_done += 1
    if num_done == 40:
        all_done.touch()
    return job

if __name__ == "__main__":
    print(sorted(run_jobs(work, range(40), workers=3)) == list(range(40)))
else:
    give_up = time.monotonic() + 60
    while not all_done.exists():
        if time.monotonic() > give_up:
            os._exit(1)
        time.sleep(0.05)
"""
"""In other processes, which import it too, its import ends only when one process has done all jobs."""


def test_nothing_waits_for_processes_that_still_import(tmp_path):
    (tmp_path / "script.py").write_text(SLOW_SCRIPT)
    run = subprocess.run(
        [sys.executable, tmp_path / "script.py", tmp_path / "all_done"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert run.stdout == "True\n", run.stderr


def test_only_the_processors_that_may_be_used_are_counted():
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert available_cpus() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.slow
def test_a_worker_that_dies_on_a_cluster_is_said_with_what_to_do():
    import dask
    from distributed import LocalCluster

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        pytest.raises(ValueError, match="workers died over one scan, .* what is finished is kept"),
    ):
        list(run_jobs(kill_own_process, [0], scheduler=cluster.scheduler_address))


def test_a_scheduler_that_does_not_answer_is_said():
    with pytest.raises(ValueError, match="--scheduler tcp://127.0.0.1:1: no Dask scheduler answers there"):
        list(run_jobs(len, ["a"], scheduler="tcp://127.0.0.1:1"))


@pytest.mark.parametrize(("load", "warns"), [(2.9, False), (3.1, True)])
def test_a_machine_that_others_keep_busy_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, load: float, warns: bool
) -> None:
    # The load of a test machine is what it is.
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    warn_if_oversubscribed("train")
    assert ("load 3.1 on 2 CPUs" in caplog.text) == warns == ("OMP_WAIT_POLICY=passive" in caplog.text)


def test_results_that_are_made_ahead_come_in_the_order_of_the_jobs_and_only_a_few_wait() -> None:
    taken = []

    def jobs():
        for number in range(40):
            taken.append(number)
            yield "x" * number

    results = map_ahead(len, jobs(), workers=2)
    assert next(results) == 0 and len(taken) <= 6
    assert list(results) == list(range(1, 40))
