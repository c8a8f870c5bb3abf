"""What one sees while it trains: a bar in a terminal, a line an epoch in a log."""

import logging
import time

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

log = logging.getLogger(__name__)
FIGURES = ("train_loss", "val_loss", "val_auroc")


class Clock:
    """How long the rest of a training takes, by the part of it that this process has seen."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.batches_before = 0

    def start(self, trainer: Trainer) -> None:
        self.started, self.batches_before = time.monotonic(), batches_done(trainer)

    def seconds_left(self, trainer: Trainer) -> float:
        done = batches_done(trainer)
        left = trainer.max_epochs * trainer.num_training_batches - done
        return (time.monotonic() - self.started) / max(1, done - self.batches_before) * left


def batches_done(trainer: Trainer) -> int:
    return trainer.fit_loop.epoch_loop.batch_progress.total.processed


def spoken(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class EpochLines(Callback):
    """One line an epoch, for logs that are no terminal."""

    def __init__(self) -> None:
        self.clock = Clock()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.clock.start(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            figures = "  ".join(f"{name} {float(trainer.callback_metrics[name]):.3f}" for name in FIGURES)
            place = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            log.info("%s  %s  %s left", place, figures, spoken(self.clock.seconds_left(trainer)))


class Bar(RichProgressBar):
    """Lightning's bar of an epoch's batches, with the last loss, the last validation and the time left in all."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.clock.start(trainer)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, int | str | float]:
        shown = super().get_metrics(trainer, pl_module)
        shown.pop("v_num", None)
        if pl_module.last_batch is not None:
            shown["loss"] = round(float(pl_module.last_batch.loss), 3)
        return shown | {"left": spoken(self.clock.seconds_left(trainer))}
