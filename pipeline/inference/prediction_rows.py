"""Rows of predictions of new scans: kept one by one while they come, and written as CSV or JSON lines at the end."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from pipeline.core.columns import PATH, PROB_PREFIX
from pipeline.core.io import check_replaceable, lock_for_process, whole_file
from pipeline.inference.trained_run import ScanPrediction

SUFFIXES = (".csv", ".jsonl")
BETWEEN = " | "
"""Between the warnings, or the classes of a conformal set, in a cell."""
Row = dict[str, Any]


def make_row(name: str, found: ScanPrediction | None, error: str | None = None, **more: Any) -> Row:
    """A scan as JSON; all but its name and the error is empty for a scan that failed."""
    values = asdict(found) if found else dict.fromkeys(ScanPrediction.__dataclass_fields__)
    return {PATH: name, **values, **more, "error": error}


def withhold(row: Row) -> Row:
    """The row of a refused scan without what was predicted for it."""
    kept = {PATH, "guard", "warnings", "error"}
    return {name: value if name in kept else None for name, value in row.items()}


class RowFile:
    """Rows in the order in which they came, each whole or not there; the first line says of which run they are.

    A file of another run is started over. Reading goes by the position that `append` gives, so no row stays in memory.
    """

    def __init__(self, path: Path, run: str) -> None:
        self.positions: dict[str, int] = {}
        """Of the rows of an earlier attempt, by key."""
        self.names: set[str] = set()
        """Of the same scans."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = path.open("r+b" if path.exists() else "w+b")
        head = json.dumps({"run": run}).encode() + b"\n"
        if self._file.readline() == head:
            self._read_earlier()
        else:
            self._file.seek(0)
            self._file.truncate()
            self._file.write(head)

    def _read_earlier(self) -> None:
        position = self._file.tell()
        for line in iter(self._file.readline, b""):
            stored = parse_line(line)
            if stored is None:
                break
            if stored["key"]:
                self.positions[stored["key"]] = position
                self.names.add(stored["row"][PATH])
            position = self._file.tell()
        # What a kill left of the last row.
        self._file.truncate(position)

    def append(self, row: Row, key: str | None) -> int:
        """The position of the row, which a kill of this process does not lose; without a key it is not found again."""
        position = self._file.seek(0, 2)
        self._file.write(json.dumps({"key": key, "row": row}, allow_nan=False).encode() + b"\n")
        self._file.flush()
        return position

    def rows(self, positions: Iterable[int]) -> Iterator[Row]:
        for position in positions:
            self._file.seek(position)
            yield json.loads(self._file.readline())["row"]

    def close(self) -> None:
        self._file.close()


def parse_line(line: bytes) -> dict[str, Any] | None:
    """A row with its key; None for a line that a kill cut short."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None


def check_output(out: Path) -> None:
    """Raise ValueError for a folder, or a name that says no format."""
    check_replaceable(out)
    if out.suffix not in SUFFIXES:
        raise ValueError(f"{out}: expected a name that ends in {' or '.join(SUFFIXES)}.")


@contextmanager
def earlier_rows(out: Path, run: str) -> Iterator[RowFile]:
    """The rows beside `out` that an earlier attempt left; they go once the block has ended without an error."""
    partial, lock = (out.with_name(f".{out.name}.{kind}") for kind in ("partial", "lock"))
    try:
        held = lock_for_process(lock)
    except BlockingIOError:
        raise ValueError(f"{out}: another process writes it; wait for it, or give another --out.") from None
    rows = RowFile(partial, run)
    try:
        yield rows
        partial.unlink()
    finally:
        rows.close()
        lock.unlink(missing_ok=True)
        if held:
            held.close()


def write_rows(out: Path, rows: Iterable[Row], classes: Sequence[str], extra: Sequence[str]) -> None:
    """Replace `out`; `extra` are further keys of the rows."""
    with whole_file(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        if out.suffix == ".jsonl":
            stream.writelines(json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n" for row in rows)
        else:
            # Text in quotes: readers take a bare carriage return for the end of a row.
            writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
            cells = (csv_cells(row, classes, extra) for row in rows)
            writer.writerow(csv_cells(make_row("", None), classes, extra))
            writer.writerows(one.values() for one in cells)


def csv_cells(row: Row, classes: Sequence[str], extra: Sequence[str]) -> Row:
    """One cell a column; an empty one where there is nothing."""
    probs, guard = row["probabilities"] or {}, row["guard"] or {}
    return {
        PATH: row[PATH],
        **{f"{PROB_PREFIX}{name}": probs.get(name) for name in classes},
        "predicted": row["predicted"],
        "conformal_set": None if row["conformal_set"] is None else BETWEEN.join(row["conformal_set"]),
        "entropy": row["entropy"],
        "disagreement": row["disagreement"],
        "guard": guard.get("verdict"),
        "guard_distance": guard.get("distance"),
        "guard_reason": guard.get("reason"),
        "warnings": BETWEEN.join(row["warnings"] or ()),
        **{name: row.get(name) for name in extra},
        "error": row["error"],
    }
