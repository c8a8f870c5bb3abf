"""Lightning callbacks: history, best epoch, EMA, early stopping, unfreezing, quantization-aware training."""

import csv
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from pipeline.core.columns import HISTORY_COLUMNS
from pipeline.core.io import whole_file
from pipeline.models import Network
from pipeline.models.quantization import quantisable, rounded
from pipeline.training.distributed import mean_over_processes


def write_history(path: Path, rows: Iterable[dict[str, float]]) -> None:
    """history.csv, whole or not at all."""
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, HISTORY_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


SIGNS = {"loss": -1.0, "auroc": 1.0}
"""By validation figure: is more of it better, or less?"""
NETWORK = "network."
"""What the network's weights are called in the Lightning module."""


class SaveBest(Callback):
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


class EMAWeights(Callback):
    """Keep a running mean of the network's weights and put it in their place while validation lasts.

    The mean forgets by `decay` an update, faster in the first ones, whose weights are far off. It is part of the saved
    state, so a resumed run has the same one. In the list of callbacks it stands after whatever keeps the best weights:
    they are swapped back at validation's end.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self.mean: dict[str, Tensor] = {}
        self._aside: dict[str, Tensor] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        start = self.mean or pl_module.network.state_dict()
        self.mean = {name: value.detach().to(pl_module.device, copy=True) for name, value in start.items()}

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if trainer.global_step == self.num_updates:
            return  # gradients are still being accumulated
        self.num_updates = trainer.global_step
        share = 1 - min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        for name, value in pl_module.network.state_dict().items():
            if value.is_floating_point():
                self.mean[name].lerp_(value, share)
            else:
                self.mean[name].copy_(value)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._aside = {name: value.clone() for name, value in pl_module.network.state_dict().items()}
        pl_module.network.load_state_dict(self.mean)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.network.load_state_dict(self._aside)
        self._aside = {}

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "num_updates": self.num_updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.mean, self.num_updates = state_dict["mean"], state_dict["num_updates"]


log = logging.getLogger(__name__)
SMOOTHING = 0.7
"""Share of the earlier epochs in the smoothed figure."""


class EarlyStopping(Callback):
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


class GradualUnfreezing(Callback):
    """Let one more of the network's parts learn every `every` epochs (arXiv:1801.06146).

    What is locked keeps its batch norms' statistics too. Which parts learn follows from the epoch alone, so a resumed
    run needs no state for it.
    """

    def __init__(self, every: int) -> None:
        self.every = every

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._lock(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._lock(trainer, pl_module)

    def _lock(self, trainer: Trainer, pl_module: LightningModule) -> None:
        num_parts = len(pl_module.network.layer_groups())
        learning = min(num_parts, 1 + trainer.current_epoch // self.every)
        pl_module.network.lock(unlocked_groups=learning, freeze_bn_stats=True)


class FakeQuantizedWeights:
    """Puts a network's weights as eight bits have them in the place of its own, and takes them out again.

    A gradient that is computed in between is used for the network's own weights as it is: the straight-through
    estimator (arXiv:1308.3432), without a clipped range, for the largest weight of a channel sets its scale. The
    parameters stay the same objects, with their names.
    """

    def __init__(self, network: Network) -> None:
        self.parameters = [network.get_parameter(name) for name in quantisable(network)]
        self._aside: list[Tensor] = []

    @torch.no_grad()
    def swap_in(self) -> None:
        if self._aside:
            raise RuntimeError("rounded weights are in place already, and a second time would lose the network's own")
        self._aside = [parameter.clone() for parameter in self.parameters]
        for parameter in self.parameters:
            parameter.copy_(rounded(parameter))

    @torch.no_grad()
    def swap_out(self) -> None:
        for parameter, own in zip(self.parameters, self._aside, strict=True):
            parameter.copy_(own)
        self._aside = []

    @contextmanager
    def in_place(self) -> Iterator[None]:
        self.swap_in()
        try:
            yield
        finally:
            self.swap_out()


class QuantizationAwareTraining(Callback):
    """Forward and backward passes see rounded weights, updates change the network's own.

    Validation sees rounded weights too, and whoever keeps the best keeps those. In the list of callbacks it stands
    after that one and before `EMAWeights`, whose mean is in place by the time that validation's epoch starts, and
    is taken away after this has taken out what it put in.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights = FakeQuantizedWeights(pl_module.network)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        self.weights.swap_in()

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights.swap_out()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights.swap_in()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights.swap_out()
