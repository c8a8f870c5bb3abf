"""The local log of a training: a row an update in steps.csv, appended as it happens. The tracker only repeats it."""

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pandas as pd

from pipeline.files import write_csv


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
EPOCH_FIGURES = ("train_", "val_")
"""How the columns of history.csv begin that judge an epoch; the tracker has them by the same names."""
LIVE_NAMES = ("epoch", *(PREFIX + name for name in COLUMNS[2:]), *(f"{prefix}*" for prefix in EPOCH_FIGURES))
"""All that the tracker gets of a training as it runs."""


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
