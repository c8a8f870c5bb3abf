import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.scans.scheduling import cores_at_hand, run_jobs


def kill_own_process(_: int) -> None:
    """Die, but only where a worker can be killed without the tests."""
    if multiprocessing.parent_process() is not None:
        os._exit(1)
    time.sleep(0.1)


def process_id(_: int) -> int:
    time.sleep(0.02)
    return os.getpid()


def test_every_job_gives_its_result_in_processes_as_in_one():
    texts = ["a", "bb", "ccc", "dddd"]
    assert list(run_jobs(len, texts)) == [1, 2, 3, 4]
    assert sorted(run_jobs(len, texts, workers=2)) == [1, 2, 3, 4]


def test_a_worker_that_dies_is_said_with_what_to_do():
    with pytest.raises(ValueError, match="one was killed, most often for memory; run again with fewer --workers"):
        list(run_jobs(kill_own_process, range(100), workers=2))


def test_this_process_works_beside_the_others():
    took = set(run_jobs(process_id, range(200), workers=3))
    assert os.getpid() in took and len(took) == 3


SLOW_MODULE = """
import os, time
from pathlib import Path
mark = Path(os.environ["MARK"])

def work(job):
    mark.touch()
    return job

if "OTHERS" in os.environ:
    for _ in range(1000):
        if mark.exists():
            break
        time.sleep(0.01)
    else:
        os._exit(1)
"""
"""In other processes its import ends only when some job has been done."""

RUN = """
import os
from slow_module import work
from pipeline.scans.scheduling import run_jobs
os.environ["OTHERS"] = "1"
print(sorted(run_jobs(work, range(5), workers=3)))
"""


def test_work_begins_here_while_the_others_still_import(tmp_path):
    (tmp_path / "slow_module.py").write_text(SLOW_MODULE)
    search = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    run = subprocess.run(
        [sys.executable, "-c", RUN],
        env={**os.environ, "PYTHONPATH": search, "MARK": str(tmp_path / "mark")},
        capture_output=True,
        text=True,
    )
    assert run.stdout == "[0, 1, 2, 3, 4]\n", run.stderr


def test_only_the_processors_that_may_be_used_are_counted():
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert cores_at_hand() == 1
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
