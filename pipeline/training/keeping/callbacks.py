"""What is kept of a training: the best weights and the history."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from pipeline.training.keeping.history import write_history
from pipeline.training.processes import mean_over_processes

SIGNS = {"loss": -1.0, "auroc": 1.0}
"""By validation figure: is more of it better, or less?"""
NETWORK = "network."
"""What the network's weights are called in the Lightning module."""


class KeepBest(Callback):
    """Hand the weights to `keep(epoch, score, state_dict)` whenever the monitored validation figure improves.

    A figure that is undefined never wins; of equal ones the first stays. While there is no best, `clear` removes what
    an earlier training left in its place; a training without one is an error.
    """

    def __init__(
        self, monitor: str, keep: Callable[[int, float, dict[str, Tensor]], None], clear: Callable[[], None]
    ) -> None:
        self.monitor = f"val_{monitor}"
        self.sign = SIGNS[monitor]
        self.keep = keep
        self.clear = clear
        self.best = -math.inf

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        score = float(trainer.callback_metrics[self.monitor])
        if math.isnan(score) and self.best == -math.inf and trainer.is_global_zero:
            self.clear()
        if self.sign * score <= self.best or math.isnan(score):
            return
        self.best = self.sign * score
        # The strategy, for weights may be spread over processes, all of which must take part.
        weights = trainer.strategy.lightning_module_state_dict()
        if trainer.is_global_zero:
            own = {name.removeprefix(NETWORK): value for name, value in weights.items() if name.startswith(NETWORK)}
            self.keep(trainer.current_epoch, score, own)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.best == -math.inf:
            raise ValueError(
                f"training: {self.monitor} was a number in no epoch, so there is no best one and best.ckpt is not "
                "written; look at history.csv, and lower training.learning_rate if the losses there are none either."
            )

    def state_dict(self) -> dict[str, float]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.best = state_dict["best"]


class History(Callback):
    """One row an epoch in history.csv, written whole each time; part of the state, so a resume goes on with it.

    The mean training loss is summed up here, for Lightning forgets its own sum in a run that resumes in mid-epoch.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []
        self.total, self.count = torch.zeros(()), torch.zeros(())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: dict[str, Any], batch_idx: int
    ) -> None:
        self.total = self.total + pl_module.last_batch.loss.float().cpu() * len(batch["label"])
        self.count = self.count + len(batch["label"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        train_loss = mean_over_processes(self.total, self.count)
        pl_module.log("train_loss", train_loss)
        self.total, self.count = torch.zeros(()), torch.zeros(())
        metrics = trainer.callback_metrics
        figures = {"train_loss": train_loss} | {name: float(metrics[name]) for name in ("val_loss", "val_auroc")}
        rate = max(group["lr"] for group in trainer.optimizers[0].param_groups)
        place = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        self.rows.append({**place, **figures, "learning_rate": rate})
        if trainer.is_global_zero:
            write_history(self.path, self.rows)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "total": self.total, "count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.total, self.count = state_dict["rows"], state_dict["total"], state_dict["count"]
