"""How far work on many scans has come."""

from collections.abc import Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Outcome = TypeVar("Outcome")


def watched(outcomes: Iterator[Outcome], total: int, stage: str) -> Iterator[Outcome]:
    """The same outcomes, one a scan, under a line with rate and time left, where somebody watches."""
    columns = (
        TextColumn(stage),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not (total and console.is_terminal)) as progress:
        task = progress.add_task(stage, total=total, rate="")
        for outcome in outcomes:
            yield outcome
            speed = progress.tasks[task].speed
            progress.update(task, advance=1, rate=f"{speed:.1f} scans/s" if speed else "")
