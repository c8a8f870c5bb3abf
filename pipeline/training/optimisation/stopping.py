"""Early stopping on a smoothed validation figure: of few patients the figure itself jumps from epoch to epoch."""

import logging
import math

from lightning import Callback, LightningModule, Trainer

log = logging.getLogger(__name__)
SMOOTHING = 0.7
"""Share of the earlier epochs in the smoothed figure."""


class StopEarly(Callback):
    """Stop after `patience` epochs without a better smoothed figure; an undefined figure counts as no better.

    `sign` is 1 where more is better, -1 where less is.
    """

    def __init__(self, monitor: str, sign: float, patience: int) -> None:
        self.monitor = monitor
        self.sign = sign
        self.patience = patience
        self.smoothed = math.nan
        self.best = -math.inf
        self.epochs_since = 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        figure = self.sign * float(trainer.callback_metrics[self.monitor])
        if not math.isnan(figure):
            earlier = figure if math.isnan(self.smoothed) else self.smoothed
            self.smoothed = SMOOTHING * earlier + (1 - SMOOTHING) * figure
        self.epochs_since = 0 if self.smoothed > self.best else self.epochs_since + 1
        self.best = max(self.best, self.smoothed) if not math.isnan(self.smoothed) else self.best
        if self.epochs_since >= self.patience:
            log.info("%s, smoothed, has not improved for %d epochs: training stops", self.monitor, self.patience)
            trainer.should_stop = True

    def state_dict(self) -> dict[str, float]:
        return {"smoothed": self.smoothed, "best": self.best, "epochs_since": self.epochs_since}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.smoothed, self.best = state_dict["smoothed"], state_dict["best"]
        self.epochs_since = int(state_dict["epochs_since"])
