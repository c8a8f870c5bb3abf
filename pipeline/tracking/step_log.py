"""The local log of a training: steps.csv, one row per update of the weights, and the record of its W&B run.

The tracker receives what this log contains, so nothing is lost without it.
"""

import csv
import logging
import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from pipeline.core.columns import HISTORY_COLUMNS
from pipeline.core.io import read_json, write_csv, write_json
from pipeline.core.paths import TrainingPaths
from pipeline.core.tables import parse_table, parse_values, read_table

log = logging.getLogger(__name__)
Status = Literal["running", "finished", "stopped"]


@dataclass(frozen=True)
class StepRow:
    """One update of the weights."""

    step: int
    """Number of updates, including this one."""
    epoch: int
    loss: float
    """Mean over the batches of the update."""
    learning_rate: float
    """Of the parameter group with the highest one."""
    gradient_norm: float
    """Over all gradients, before clipping."""
    seconds: float
    """From requesting the first batch to the end of the update."""
    waiting_share: float
    """The share of `seconds` spent waiting for batches."""
    memory_mb: float
    """Peak memory so far: of the device, or of the process on a CPU."""
    elapsed_seconds: float
    """Since training began, including validation and the time before it was resumed."""


COLUMNS = tuple(field.name for field in fields(StepRow))
PREFIX = "step/"
"""The tracker has these names with this prefix."""
EPOCH_METRICS = tuple(name for name in HISTORY_COLUMNS if name.startswith(("train_", "val_")))
"""Columns of history.csv that describe an epoch; the tracker has the same names."""
BEST_PREFIX = "best/"
"""The tracker has the metrics of the best epoch with this prefix."""
LIVE_METRICS = (
    *("epoch", *(PREFIX + name for name in COLUMNS[2:]), *EPOCH_METRICS),
    *(BEST_PREFIX + name for name in ("epoch", *EPOCH_METRICS)),
)
"""All metrics that the tracker receives while a training runs."""


class StepLog:
    """steps.csv of one training."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, after_step: int) -> pd.DataFrame:
        """Keep the rows up to the step from which training resumes, and return them.

        Steps after the last checkpoint of a killed training are repeated, and would otherwise be logged twice.
        """
        rows = read_steps(self.path) if after_step else pd.DataFrame(columns=COLUMNS)
        rows = rows[rows["step"] <= after_step]
        write_csv(self.path, rows)
        return rows

    def append(self, row: StepRow) -> None:
        """Append and close the file, so that a kill loses no row."""
        with self.path.open("a", newline="", encoding="utf-8") as stream:
            csv.DictWriter(stream, COLUMNS, lineterminator="\n").writerow(asdict(row))


def read_steps(path: Path) -> pd.DataFrame:
    """The complete rows of steps.csv; an empty table if the file is missing."""
    if not path.is_file():
        return pd.DataFrame(columns=COLUMNS)
    # A power cut may leave half a last line.
    lines = path.read_bytes()
    rows = parse_values(parse_table(lines[: lines.rfind(b"\n") + 1], str(path)))
    return rows.astype({"step": int, "epoch": int})


def step_metrics(row: StepRow) -> dict[str, float]:
    """The row under the tracker's names, without undefined values."""
    metrics = {name: value for name, value in asdict(row).items() if not math.isnan(value)}
    epoch = metrics.pop("epoch")
    del metrics["step"]
    return {"epoch": epoch, **{PREFIX + name: value for name, value in metrics.items()}}


def epoch_metrics(row: dict[str, float]) -> dict[str, float]:
    """Losses and validation metrics of an epoch, by the names of history.csv, without undefined values."""
    metrics = {name: float(row[name]) for name in EPOCH_METRICS if name in row}
    return {name: value for name, value in metrics.items() if not math.isnan(value)}


def best_metrics(best: dict[str, Any]) -> dict[str, float]:
    """The content of best.json under the tracker's names, such as best/members/shape/weight."""
    values: dict[str, float] = {}
    for name, value in best.items():
        if isinstance(value, dict):
            values |= {
                f"{BEST_PREFIX}{name}/{key[len(BEST_PREFIX) :]}": inner for key, inner in best_metrics(value).items()
            }
        elif value is not None:
            values[BEST_PREFIX + name] = value
    return values


def read_epoch_metrics(paths: TrainingPaths) -> dict[int, dict[str, float]]:
    """The epochs of history.csv by the step that they end with."""
    if not paths.history.is_file():
        return {}
    return {row["step"]: epoch_metrics(row) for row in parse_values(read_table(paths.history)).to_dict("records")}


def metrics_by_step(paths: TrainingPaths, rows: pd.DataFrame) -> dict[int, dict[str, float]]:
    """The tracker's metrics of these rows of steps.csv, with the metrics of each epoch at its last step."""
    epochs = read_epoch_metrics(paths)
    return {row["step"]: step_metrics(StepRow(**row)) | epochs.get(row["step"], {}) for row in rows.to_dict("records")}


@dataclass(frozen=True)
class TrainingRecord:
    """`tracking.json` of one training."""

    run_id: str
    """Of the W&B run: the key, or in a sweep the id that the agent gave."""
    key: str
    """A hash of config, plan and data; the model file leads to it too."""
    status: Status
    """A killed training keeps `running`."""

    def write(self, path: Path) -> None:
        write_json(path, asdict(self))

    def ended(self, status: Status) -> "TrainingRecord":
        return replace(self, status=status)


def read_record(path: Path) -> TrainingRecord | None:
    """None for a training that was never tracked, or was tracked by another version."""
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        return TrainingRecord(**{field.name: content[field.name] for field in fields(TrainingRecord)})
    except (ValueError, LookupError, TypeError) as error:
        log.warning("%s: not a record of this version (%s); ignoring it.", path, error)
        return None


def find_run_id(path: Path, key: str) -> str:
    """The W&B run of the training with this key: from the record at `path` if it is of this training, else the key."""
    record = read_record(path)
    return record.run_id if record and record.key == key else key
