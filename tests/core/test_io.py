"""Files and folders are written whole or not at all, and what a kill leaves is swept by the next writer alone."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.io import lock_for_process, whole_file, whole_folder


def in_child(action: Callable[[], object]) -> int:
    """Exit code of a fork that acts, or minus the signal that killed it."""
    child = os.fork()
    if child == 0:
        try:
            action()
        except BlockingIOError:
            os._exit(3)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def write_and_die(path: Path) -> None:
    with whole_file(path) as temporary:
        temporary.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def make_folder_and_die(path: Path) -> None:
    with whole_folder(path) as temporary:
        (temporary / "map.txt").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def hidden(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.startswith("."))


def make_old(path: Path) -> None:
    """Older than the moment in which a writer locks its file."""
    os.utime(path, (time.time() - 5,) * 2)


def test_what_a_killed_writer_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    assert in_child(lambda: write_and_die(path)) == -signal.SIGKILL
    assert not path.exists() and len(hidden(tmp_path)) == 1
    make_old(hidden(tmp_path)[0])
    with whole_file(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole" and hidden(tmp_path) == []


def test_a_writer_at_work_and_files_of_others_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    others = [tmp_path / name for name in (".table.csv.swp", ".table.csv.backup-1.csv", ".other.csv.abcdefgh.csv")]
    for other in others:
        other.write_text("mine")
        make_old(other)
    with whole_file(path) as first:
        first.write_text("first")
        make_old(first)
        with whole_file(path) as second:
            second.write_text("second")
        assert first.exists() and path.read_text() == "second"
    assert path.read_text() == "first" and hidden(tmp_path) == sorted(others)


def test_a_folder_is_replaced_as_a_whole_and_kept_after_an_error_or_a_kill(tmp_path: Path) -> None:
    folder = tmp_path / "maps"
    with whole_folder(folder) as temporary:
        (temporary / "map.txt").write_text("first")
        (temporary / "more.txt").write_text("first")
    with pytest.raises(RuntimeError), whole_folder(folder) as temporary:
        (temporary / "map.txt").write_text("half")
        raise RuntimeError
    assert hidden(tmp_path) == []
    assert in_child(lambda: make_folder_and_die(folder)) == -signal.SIGKILL
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"map.txt": "first", "more.txt": "first"}
    for left in hidden(tmp_path):
        make_old(left)
    with whole_folder(folder) as temporary:
        (temporary / "map.txt").write_text("second")
    assert [path.read_text() for path in folder.iterdir()] == ["second"] and hidden(tmp_path) == []
    assert folder.stat().st_mode & 0o777 == 0o755


def test_a_lock_keeps_other_processes_out_until_it_is_closed_or_its_process_killed(tmp_path: Path) -> None:
    path = tmp_path / "run" / ".lock"
    held = lock_for_process(path)
    # The fork has the open file, but not the lock.
    assert in_child(lambda: lock_for_process(path)) == 3
    held.close()
    assert in_child(lambda: lock_for_process(path)) == 0

    def lock_and_die() -> None:
        kept = lock_for_process(path)
        os.kill(os.getpid(), signal.SIGKILL if kept else signal.SIGTERM)

    assert in_child(lock_and_die) == -signal.SIGKILL
    assert lock_for_process(path) is not None
