import os

import pytest

from pipeline.scans.scheduling import run_jobs


def kill_own_process(_: int) -> None:
    os._exit(1)


def test_every_job_gives_its_result_in_processes_as_in_one():
    texts = ["a", "bb", "ccc", "dddd"]
    assert list(run_jobs(len, texts)) == [1, 2, 3, 4]
    assert sorted(run_jobs(len, texts, workers=2)) == [1, 2, 3, 4]


def test_a_worker_that_dies_is_said_with_what_to_do():
    with pytest.raises(ValueError, match="one was killed, most often for memory; run again with fewer --workers"):
        list(run_jobs(kill_own_process, [1, 2], workers=2))


def test_a_scheduler_that_does_not_answer_is_said():
    with pytest.raises(ValueError, match="--scheduler tcp://127.0.0.1:1: no Dask scheduler answers there"):
        list(run_jobs(len, ["a"], scheduler="tcp://127.0.0.1:1"))
