"""Files and folders are written whole or not at all, and what a kill leaves is swept by the next writer alone.

Files that are damaged or of another shape end in one line with file, place and value.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.io import (
    lock_for_process,
    parse_yaml,
    read_json,
    read_yaml,
    whole_file,
    whole_folder,
    write_text,
)


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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "line 1: not valid YAML, expected the node content"),
        ("a: 1\nb: \x01", "line 2: got '.x01', a control character"),
        ("when: 2020-13-45", "month must be in 1..12"),
        ("a: &a [*a]", "aliases .* more than 100,000 values"),
        ("[" * 5000, "nested too deep"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: 1\na: 2", "line 2: a key occurs twice"),
        ('a: "\\ud83e"', "surrogates not allowed"),
    ],
)
def test_broken_yaml_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        read_yaml(tmp_path / "a.yaml")
    assert str(caught.value).startswith(f"{tmp_path / 'a.yaml'}: ") and "\n" not in str(caught.value)


def test_nested_aliases_are_refused_before_they_are_written_out() -> None:
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [
        f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    with pytest.raises(ValueError, match="aliases"):
        parse_yaml("\n".join(lines), "a.yaml")
    assert parse_yaml("a: &a [1, 2]\nb: *a", "a.yaml") == {"a": [1, 2], "b": [1, 2]}


def test_yaml_in_utf_16_is_read_and_in_latin_1_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes("name: Müller".encode("utf-16"))
    assert read_yaml(tmp_path / "a.yaml") == {"name": "Müller"}
    (tmp_path / "a.yaml").write_bytes("a: 1\nname: Müller".encode("latin-1"))
    with pytest.raises(ValueError, match="line 2: not text in UTF-8, got byte fc"):
        read_yaml(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "line 1: not valid JSON"),
        (b"[" * 100_000, "nested too deep"),
        (b"[1, 2]", r"expected an object with classes, got \[1, 2\]"),
        (b'{"task": "auto"}', "'classes' is missing"),
        (b"\xff", "line 1: not text in UTF-8"),
        (b"", "not valid JSON"),
    ],
)
def test_json_of_another_shape_is_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        read_json(tmp_path / "a.json", "classes")
    assert str(caught.value).startswith(f"{tmp_path / 'a.json'}: ") and "\n" not in str(caught.value)


def test_a_device_or_folder_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    for path in (Path("/dev/null"), tmp_path):
        with pytest.raises(ValueError, match="expected a file to write"):
            write_text(path, "text")
    assert not Path("/dev/null").is_file() and tmp_path.is_dir()
