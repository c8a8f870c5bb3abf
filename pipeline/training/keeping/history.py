"""history.csv, a row an epoch; apart from its callback, for those who read it without Lightning."""

import csv
from collections.abc import Iterable
from pathlib import Path

from pipeline.core.io import whole_file

HISTORY_COLUMNS = ("epoch", "step", "train_loss", "val_loss", "val_auroc", "learning_rate")


def write_history(path: Path, rows: Iterable[dict[str, float]]) -> None:
    """history.csv, whole or not at all."""
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, HISTORY_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
