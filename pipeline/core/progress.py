"""What a running command shows: its log on stderr and in a file, and the progress of long work."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

Result = TypeVar("Result")
LOG_EVERY_S = 30.0
"""Seconds between two lines of progress in a log."""
FIRST_LOG_S, SHOW_EVERY_S = 1.0, 0.1
LOGGERS = ("pipeline", "__main__")
"""A stage is `__main__` when it runs, its modules are below `pipeline`."""
log = logging.getLogger(__name__)


def log_to_stderr() -> None:
    """Show messages of the pipeline from level INFO, and warnings of other libraries; nothing at a second call."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.addFilter(is_shown)
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)


def is_shown(record: logging.LogRecord) -> bool:
    """A terminal shows a bar in place of lines of progress."""
    return record.name != __name__ or not sys.stderr.isatty()


def log_to_file(path: Path) -> None:
    """Append the same messages to a file, with the time; a folder that cannot be written to only means no file."""
    handler = WhenNeededHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(message)s"))
    for name in LOGGERS:
        logging.getLogger(name).addHandler(handler)


class WhenNeededHandler(logging.FileHandler):
    """A log file that is made, with its folder, at the first message."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)

    def emit(self, record: logging.LogRecord) -> None:
        if self.stream is None:
            try:
                Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
                self.stream = self._open()
            except OSError:
                return
        super().emit(record)


def show_progress(results: Iterable[Result], total: int, stage: str, unit: str = "scans") -> Iterator[Result]:
    """The same results under a bar with rate and time left on a terminal, and lines in the log.

    The first line comes after a second, the others every half minute.
    """
    began = shown = time.monotonic()
    next_line = began + FIRST_LOG_S
    with progress_bar(stage, is_enabled=total > 0) as progress:
        task = progress.add_task(stage, total=total, rate="")
        for done, result in enumerate(results, start=1):
            yield result
            now = time.monotonic()
            if now - shown >= SHOW_EVERY_S or done == total:
                # Drawing costs more than many a result does.
                shown, speed = now, progress.tasks[task].speed
                progress.update(task, completed=done, rate=f"{speed:.1f} {unit}/s" if speed else "")
            if now >= next_line:
                next_line = now + LOG_EVERY_S
                log.info("%s", progress_line(stage, done, total, now - began, unit))


def progress_bar(stage: str, is_enabled: bool) -> "Progress":
    """A line on a terminal, and nothing elsewhere."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(stage),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not (is_enabled and console.is_terminal))


def progress_line(stage: str, done: int, total: int, seconds: float, unit: str) -> str:
    """`preprocess: 40 of 120 scans in 2 min, about 4 min left`."""
    left = seconds / done * (total - done)
    return f"{stage}: {done} of {total} {unit} in {format_duration(seconds)}, about {format_duration(left)} left"


def format_duration(seconds: float) -> str:
    """Seconds up to two minutes, minutes up to two hours, else hours."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
