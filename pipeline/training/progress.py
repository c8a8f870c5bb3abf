"""Console progress of a training: a bar on a terminal, one line per epoch in a log."""

import logging
import sys
import time

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

log = logging.getLogger(__name__)
METRICS = ("train_loss", "val_loss", "val_auroc")
"""What a line shows of an epoch."""


def progress_callback() -> Callback:
    """The bar if someone is watching, else lines."""
    return EpochBar() if sys.stderr.isatty() else EpochLines()


class TimeLeft:
    """Estimate the remaining time of a training from the batches that this process has trained on."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.batches_before = 0

    def start(self, trainer: Trainer) -> None:
        self.started, self.batches_before = time.monotonic(), batches_done(trainer)

    def seconds(self, trainer: Trainer) -> float:
        done = batches_done(trainer)
        left = trainer.max_epochs * trainer.num_training_batches - done
        return (time.monotonic() - self.started) / max(1, done - self.batches_before) * left


def batches_done(trainer: Trainer) -> int:
    """Batches trained on so far, including those before a resume."""
    return trainer.fit_loop.epoch_loop.batch_progress.total.processed


def format_duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class EpochLines(Callback):
    """Log one line per epoch, for output that is not a terminal."""

    def __init__(self) -> None:
        self.time_left = TimeLeft()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.time_left.start(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            metrics = "  ".join(f"{name} {float(trainer.callback_metrics[name]):.3f}" for name in METRICS)
            epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            log.info("%s  %s  %s left", epoch, metrics, format_duration(self.time_left.seconds(trainer)))


class EpochBar(RichProgressBar):
    """Lightning's bar over the batches of an epoch, with the last loss, the last validation and the total time left."""

    def __init__(self) -> None:
        super().__init__()
        self.time_left = TimeLeft()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.time_left.start(trainer)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, int | str | float]:
        shown = super().get_metrics(trainer, pl_module)
        shown.pop("v_num", None)
        if pl_module.last_batch is not None:
            shown["loss"] = round(float(pl_module.last_batch.loss), 3)
        return shown | {"left": format_duration(self.time_left.seconds(trainer))}
