"""Predict many new scans: read ahead in other processes, kept row by row, gone on with after a kill."""

import functools
import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from monai.transforms import Compose

from pipeline.config import Plan
from pipeline.core.parallel import map_ahead
from pipeline.core.progress import show_progress
from pipeline.core.provenance import hash_of_modules
from pipeline.imaging.io.dicom import HEADER_IDS, header_ids
from pipeline.imaging.io.discover import ScanFiles
from pipeline.imaging.preprocessing import PreparedScan, preprocess_scan
from pipeline.imaging.reference_range import ScanMeasures
from pipeline.imaging.transforms import scan_transforms
from pipeline.inference.new_scans import NewScan, found_scans
from pipeline.inference.prediction_rows import Row, RowFile, check_output, earlier_rows, make_row, withhold, write_rows
from pipeline.inference.predictor import Volume
from pipeline.inference.trained_run import ScanPrediction, TrainedRun
from pipeline.training.errors import is_out_of_memory

log = logging.getLogger(__name__)
OnRefused = Literal["keep", "drop", "stop"]
Prepare = Callable[[ScanFiles], PreparedScan]
Draw = Callable[[NewScan, ScanPrediction], str]
"""Draws the explanation map of a scan, and gives the name of its file."""
DECIDES_PREDICTIONS = ("imaging", "inference", "models")
"""Code of this package: rows of another version are not gone on with."""


@dataclass(frozen=True)
class ReadScan:
    """A scan as another process hands it over: preprocessed, or with the reason why it cannot be."""

    scan: NewScan
    key: str | None = None
    """Hash of its name and its files."""
    volume: Volume | None = None
    measures: ScanMeasures | None = None
    warnings: tuple[str, ...] = ()
    ids: dict[str, str] | None = None
    error: str | None = None


@dataclass(frozen=True)
class BulkOptions:
    """What becomes of scans and rows."""

    workers: int = 1
    """Processes that read ahead; 1 is this one alone."""
    on_refused: OnRefused = "keep"
    """What becomes of a scan that the guard refuses: predicted, without its probabilities, or the end of the run."""
    header_ids: bool = False
    """Columns with the ids of DICOM headers, which otherwise never leave."""
    draw: Draw | None = None

    @property
    def extra(self) -> list[str]:
        """Further columns."""
        return [*(HEADER_IDS if self.header_ids else ()), *(["map"] if self.draw else [])]


def predict_files(run: TrainedRun, paths: Sequence[Path], out: Path, options: BulkOptions | None = None) -> None:
    """Write a row for each scan at the paths, as CSV or JSON lines by the name of `out`, and log every warning.

    Rows of an earlier attempt that was killed are kept where run and scan are the same. Scans that cannot be read, or
    need too much memory, have a row with the reason; one `ValueError` lists them after all others are written.
    """
    options = options or BulkOptions()
    check_output(out)
    found, earlier = found_scans(list(paths), run.classifier.columns), earlier_rows(out, fingerprint(run, options))
    with found as scans, earlier as rows:
        kept = {index: position for index, scan in enumerate(scans) if (position := find_row(rows, scan)) is not None}
        if kept:
            log.info("%d of %d scans were predicted before, %d to do", len(kept), len(scans), len(scans) - len(kept))
        todo = [index for index in range(len(scans)) if index not in kept]
        problems = []
        read = read_scans(run, [scans[index] for index in todo], options)
        for index, found in zip(todo, show_progress(read, len(todo), "predict"), strict=True):
            row = predict_row(run, found, options)
            log_row(row)
            problems += [row["error"]] if row["error"] else []
            kept[index] = rows.append(row, None if row["error"] else found.key)
            if options.on_refused == "stop":
                check_not_refused(row, out)
        ordered = rows.rows(kept[index] for index in range(len(scans)))
        is_withheld = options.on_refused == "drop"
        shown = (withhold(row) if is_withheld and is_refused(row) else row for row in ordered)
        write_rows(out, shown, run.classes, options.extra)
    log.info("%s: %d scans", out, len(scans) - len(problems))
    if problems:
        raise ValueError("\n".join([f"{len(problems)} of {len(scans)} scans could not be predicted:", *problems]))


def fingerprint(run: TrainedRun, options: BulkOptions) -> str:
    """A hash of all that decides a row but the scan."""
    weights = [trained.sha256 for trained in run.classifier.trainings]
    guard = (run.guard.summary, {name: check.limit for name, check in run.guard.checks.items()})
    decisive = (weights, run.classifier.fitted, guard, options.extra, hash_of_modules(DECIDES_PREDICTIONS))
    return hashlib.sha256(repr(decisive).encode()).hexdigest()


def find_row(rows: RowFile, scan: NewScan) -> int | None:
    """The position of the row that an earlier attempt wrote for the same files under the same name."""
    if scan.name not in rows.names:
        return None
    try:
        return rows.positions.get(key_of(scan))
    except OSError:
        return None


def key_of(scan: NewScan) -> str:
    return hashlib.sha256(f"{scan.name}\n{scan.files.sha256()}".encode()).hexdigest()


def read_scans(run: TrainedRun, scans: list[NewScan], options: BulkOptions) -> Iterator[ReadScan]:
    """Read and preprocess each scan, in order; with several workers ahead of the prediction."""
    if options.workers < 2:
        return map(functools.partial(read_scan, prepare=run.classifier.prepare, ids=options.header_ids), scans)
    trained = run.classifier.trainings[0]
    prepare = functools.partial(prepare_by, plan=trained.plan.model_dump_json(), own=trained.own_transforms)
    reading = functools.partial(read_scan, prepare=prepare, ids=options.header_ids)
    return map_ahead(reading, scans, workers=options.workers, initializer=use_one_thread)


def read_scan(scan: NewScan, *, prepare: Prepare, ids: bool) -> ReadScan:
    """Everything that can be wrong with a scan is its `error`."""
    try:
        found = header_ids(scan.files.first) if ids else None
        key, prepared = key_of(scan), prepare(scan.files)
    except (ValueError, OSError) as error:
        return ReadScan(scan, error=scan.rename(str(error)))
    except (RuntimeError, MemoryError) as error:
        return ReadScan(scan, error=memory_error(scan, error))
    warnings = tuple(map(scan.rename, prepared.warnings))
    return ReadScan(scan, key, prepared.array, prepared.measures, warnings, found)


def memory_error(scan: NewScan, error: Exception) -> str:
    if not is_out_of_memory(error):
        raise error
    return f"{scan.name}: out of memory; predict it alone, or on a machine with more memory."


def prepare_by(files: ScanFiles, *, plan: str, own: frozenset[str]) -> PreparedScan:
    """Preprocess a scan in a process that knows the plan as JSON."""
    parsed, transforms = transforms_by(plan, own)
    return preprocess_scan(files, parsed, transforms)


@functools.lru_cache(maxsize=1)
def transforms_by(plan: str, own: frozenset[str]) -> tuple[Plan, Compose]:
    parsed = Plan.model_validate_json(plan)
    return parsed, scan_transforms(parsed, own_modules=own, is_new=True)


def use_one_thread() -> None:
    """Processes that read side by side would otherwise each use all CPUs."""
    torch.set_num_threads(1)


def predict_row(run: TrainedRun, read: ReadScan, options: BulkOptions) -> Row:
    """The row of a scan that was read."""
    name = read.scan.name
    if read.volume is None:
        return make_row(name, None, read.error)
    try:
        found = run.predict_prepared(read.volume, read.measures, read.warnings)
        drawn = {"map": options.draw(read.scan, found)} if options.draw else {}
    except ValueError as error:
        return make_row(name, None, f"{name}: {error}")
    except (RuntimeError, MemoryError) as error:
        return make_row(name, None, memory_error(read.scan, error))
    return make_row(name, found, **(read.ids or {}), **drawn)


def log_row(row: Row) -> None:
    """Warnings, and what the guard has against the scan."""
    for warning in row["warnings"] or ():
        log.warning("warning: %s: %s", row["path"], warning)
    if row["guard"] and row["guard"]["verdict"] in ("warn", "refuse"):
        log.warning("guard: %s: %s, %s", row["path"], row["guard"]["verdict"], row["guard"]["reason"])


def is_refused(row: Row) -> bool:
    return bool(row["guard"]) and row["guard"]["verdict"] == "refuse"


def check_not_refused(row: Row, out: Path) -> None:
    if is_refused(row):
        raise ValueError(
            f"{row['path']}: refused by the input guard, {row['guard']['reason']}; {out} is not written. With "
            "--on-refused keep or drop the same command goes on from here."
        )
