"""What is kept of a training: the best weights and the history."""

import csv
import math
from collections.abc import Callable, Iterable
from pathlib import Path

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from pipeline.files import whole_file

HISTORY_COLUMNS = ("epoch", "step", "train_loss", "val_loss", "val_auroc", "learning_rate")


class KeepBest(Callback):
    """Hand the weights to `keep(epoch, score, state_dict)` whenever the monitored validation figure improves.

    A figure that is undefined never wins; of equal ones the first stays.
    """

    def __init__(self, monitor: str, keep: Callable[[int, float, dict[str, Tensor]], None]) -> None:
        self.monitor = f"val_{monitor}"
        self.sign = -1.0 if monitor == "loss" else 1.0
        self.keep = keep
        self.best = -math.inf

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        score = float(trainer.callback_metrics[self.monitor])
        if self.sign * score > self.best:
            self.best = self.sign * score
            self.keep(trainer.current_epoch, score, pl_module.network.state_dict())

    def state_dict(self) -> dict[str, float]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.best = state_dict["best"]


class History(Callback):
    """One row an epoch in history.csv, written whole each time; part of the state, so a resume goes on with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = trainer.callback_metrics
        figures = {name: float(metrics[name]) for name in ("train_loss", "val_loss", "val_auroc")}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        place = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        self.rows.append({**place, **figures, "learning_rate": rate})
        write_history(self.path, self.rows)

    def state_dict(self) -> dict[str, list[dict[str, float]]]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, list[dict[str, float]]]) -> None:
        self.rows = state_dict["rows"]


def write_history(path: Path, rows: Iterable[dict[str, float]]) -> None:
    """history.csv, whole or not at all."""
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, HISTORY_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
