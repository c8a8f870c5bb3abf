"""The local log of a training: a row an update in steps.csv, appended as it happens. The tracker only repeats it."""

import csv
import logging
import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from pipeline.core.columns import HISTORY_COLUMNS
from pipeline.core.io import read_json, write_csv, write_json
from pipeline.core.paths import FoldPaths


@dataclass(frozen=True)
class StepRow:
    """One update of the weights."""

    step: int
    """Updates so far, this one included."""
    epoch: int
    loss: float
    """Mean over the batches of the update."""
    learning_rate: float
    """Of the group of parameters that learns fastest."""
    gradient_norm: float
    """Over all gradients, before clipping."""
    seconds: float
    """From asking for the first batch to the end of the update."""
    waiting_share: float
    """The part of `seconds` in which batches were waited for."""
    memory_mb: float
    """Most memory in use so far: of the device, or of the process on a CPU."""
    elapsed_seconds: float
    """Since training began, validation and earlier sittings included."""


COLUMNS = tuple(field.name for field in fields(StepRow))
PREFIX = "step/"
"""Before these names, in the tracker."""
EPOCH_FIGURES = tuple(name for name in HISTORY_COLUMNS if name.startswith(("train_", "val_")))
"""Columns of history.csv that judge an epoch; the tracker has them by the same names."""
BEST_PREFIX = "best/"
"""Before the figures of the epoch that is kept, in the tracker."""
LIVE_NAMES = (
    *("epoch", *(PREFIX + name for name in COLUMNS[2:]), *EPOCH_FIGURES),
    *(BEST_PREFIX + name for name in ("epoch", *EPOCH_FIGURES)),
)
"""All figures that the tracker gets of a training as it runs."""


class StepLog:
    """steps.csv of one training."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, after_step: int) -> pd.DataFrame:
        """Keep the rows up to the step that training goes on from, and return them.

        What a killed sitting did after its last checkpoint is done again, and would stand here twice.
        """
        rows = read_steps(self.path) if after_step else pd.DataFrame(columns=COLUMNS)
        rows = rows[rows["step"] <= after_step]
        write_csv(self.path, rows)
        return rows

    def append(self, row: StepRow) -> None:
        """On its way to the disk when this returns, so a kill loses no row."""
        with self.path.open("a", newline="", encoding="utf-8") as stream:
            csv.DictWriter(stream, COLUMNS, lineterminator="\n").writerow(asdict(row))


def read_steps(path: Path) -> pd.DataFrame:
    """The whole rows of steps.csv; none where there is no such file."""
    if not path.is_file():
        return pd.DataFrame(columns=COLUMNS)
    # A power cut may leave half a last line, which has too few cells.
    rows = pd.read_csv(path).dropna(subset=["elapsed_seconds"])
    return rows.astype({"step": int, "epoch": int})


def step_figures(row: StepRow) -> dict[str, float]:
    """The row under the names that the tracker shows, without what is undefined."""
    figures = {name: value for name, value in asdict(row).items() if not math.isnan(value)}
    epoch = figures.pop("epoch")
    del figures["step"]
    return {"epoch": epoch, **{PREFIX + name: value for name, value in figures.items()}}


def epoch_figures(metrics: dict[str, float]) -> dict[str, float]:
    """Losses and validation figures of an epoch, by the names of history.csv, without what is undefined."""
    figures = {name: float(metrics[name]) for name in EPOCH_FIGURES if name in metrics}
    return {name: value for name, value in figures.items() if not math.isnan(value)}


def best_figures(best: dict[str, float]) -> dict[str, float]:
    """The content of best.json by the names that the tracker shows."""
    return {BEST_PREFIX + name: value for name, value in best.items()}


def read_epochs(paths: FoldPaths) -> dict[int, dict[str, float]]:
    """The epochs of history.csv by the step that they end with."""
    if not paths.history.is_file():
        return {}
    return {row["step"]: epoch_figures(row) for row in pd.read_csv(paths.history).to_dict("records")}


def figures_by_step(paths: FoldPaths, rows: pd.DataFrame) -> dict[int, dict[str, float]]:
    """What the tracker should have of these rows of steps.csv, with the figures of the epochs that end there."""
    epochs = read_epochs(paths)
    return {row["step"]: step_figures(StepRow(**row)) | epochs.get(row["step"], {}) for row in rows.to_dict("records")}


log = logging.getLogger(__name__)
Status = Literal["running", "finished", "stopped"]


@dataclass(frozen=True)
class Record:
    """`tracking.json` of one training."""

    run_id: str
    """Of the W&B run: the key, or what the agent of a sweep calls its trial."""
    key: str
    """Made from the config, plan and data; the model file carries it too."""
    status: Status
    """A training that was killed stays `running`."""

    def write(self, path: Path) -> None:
        write_json(path, asdict(self))

    def ended(self, status: Status) -> "Record":
        return replace(self, status=status)


def read_record(path: Path) -> Record | None:
    """None for a training that was never watched, or by a version with other words."""
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        return Record(**{field.name: content[field.name] for field in fields(Record)})
    except (ValueError, LookupError, TypeError) as error:
        log.warning("%s: not a record of this version (%s); it is passed over.", path, error)
        return None


def run_id_from(path: Path, key: str) -> str:
    """The W&B run of the training with this key, by the record at `path` if that is about it."""
    record = read_record(path)
    return record.run_id if record and record.key == key else key
