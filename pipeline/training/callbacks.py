"""What acts during a training: checkpoints, history, EMA, early stopping, unfreezing, quantization-aware training.

`trainer.build_callbacks` lists them in the order in which they act.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from pipeline.models import Network
from pipeline.models.quantization import fake_quantize, quantizable_weights
from pipeline.training.checkpoint import BEST_STATE, RUN_STATE, RunDirectory
from pipeline.training.distributed import mean_over_processes
from pipeline.training.provenance import hash_of_code

log = logging.getLogger(__name__)
MONITOR_SIGNS = {"loss": -1.0, "auroc": 1.0}
"""1 where more of a validation metric is better, -1 where less is."""
NETWORK_PREFIX = "network."
"""Before the names of the network's weights in the state of the Lightning module."""
SMOOTHING = 0.7
"""Weight of the earlier epochs in the metric that early stopping smooths."""
NUM_AVERAGED = 3
"""Epochs, the last one among them, whose mean metric picks the best checkpoint."""


class SeedEachStep(Callback):
    """Make dropout and drop path a function of (seed, epoch, batch), so that a resumed run draws the same numbers."""

    def __init__(self) -> None:
        self.seed = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seed = torch.initial_seed() % 2**31

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        # Each process drops other units; the first one drops those that it drops when it is alone.
        rank = (trainer.global_rank,) if trainer.global_rank else ()
        place = np.random.SeedSequence([self.seed, trainer.current_epoch, batch_idx], spawn_key=rank)
        torch.manual_seed(int(place.generate_state(1, np.uint64)[0]))


class SaveBest(Callback):
    """Write best.ckpt whenever the mean of the monitored validation metric over the last three epochs improves.

    The best of many epochs is lucky: a mean of three takes two fifths of that away. An undefined metric never wins; of
    equal ones the first stays. A training without a defined metric leaves no best.ckpt and is an error.
    """

    def __init__(self, run_directory: RunDirectory, monitor: str) -> None:
        self.run_directory = run_directory
        self.monitor = f"val_{monitor}"
        self.sign = MONITOR_SIGNS[monitor]
        self.recent: list[float] = []
        self.best = -math.inf

    @property
    def state_key(self) -> str:
        return BEST_STATE

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        score = float(trainer.callback_metrics[self.monitor])
        if math.isnan(score):
            return
        self.recent = [*self.recent, self.sign * score][-NUM_AVERAGED:]
        if (mean := math.fsum(self.recent) / len(self.recent)) <= self.best:
            return
        self.best = mean
        # From the strategy, because weights may be sharded over processes, all of which must take part.
        weights = trainer.strategy.lightning_module_state_dict()
        if trainer.is_global_zero:
            own = {name: value for name, value in weights.items() if name.startswith(NETWORK_PREFIX)}
            own = {name.removeprefix(NETWORK_PREFIX): value for name, value in own.items()}
            self.run_directory.save_best(trainer.current_epoch, score, own)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.best == -math.inf:
            raise ValueError(
                f"training: {self.monitor} was NaN in every epoch, so best.ckpt was not written; check history.csv, "
                "and lower training.learning_rate if the losses are NaN too."
            )

    def state_dict(self) -> dict[str, Any]:
        return {"recent": self.recent, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.recent, self.best = state_dict["recent"], state_dict["best"]


class FakeQuantizedWeights:
    """Swap a network's weights for their 8-bit approximations, and back.

    A gradient computed in between is applied to the original weights unchanged: the straight-through estimator
    (arXiv:1308.3432). It needs no clipped range, since the largest weight of a channel sets the scale. The parameters
    remain the same objects, with their names.
    """

    def __init__(self, network: Network) -> None:
        self.parameters = [network.get_parameter(name) for name in quantizable_weights(network)]
        self._original: list[Tensor] = []

    @torch.no_grad()
    def swap_in(self) -> None:
        if self._original:
            raise RuntimeError("quantized weights are swapped in already; a second swap would lose the original ones")
        self._original = [parameter.clone() for parameter in self.parameters]
        for parameter in self.parameters:
            parameter.copy_(fake_quantize(parameter))

    @torch.no_grad()
    def swap_out(self) -> None:
        for parameter, original in zip(self.parameters, self._original, strict=True):
            parameter.copy_(original)
        self._original = []

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        self.swap_in()
        try:
            yield
        finally:
            self.swap_out()


class QuantizationAwareTraining(Callback):
    """Forward and backward passes use quantized weights; updates change the original ones.

    Validation uses quantized weights too, and those are what `SaveBest` saves.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights = FakeQuantizedWeights(pl_module.network)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        self.weights.swap_in()

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights.swap_out()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # After `on_validation_start`, in which the EMA weights are swapped in.
        self.weights.swap_in()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights.swap_out()


class EMAWeights(Callback):
    """Keep an exponential moving average of the network's weights, and validate with it.

    The average decays by `decay` per update, faster in the first ones, whose weights are far off. It is saved in
    last.ckpt, so that a resumed run has the same one.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self.mean: dict[str, Tensor] = {}
        self._original: dict[str, Tensor] = {}

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
        self._original = {name: value.clone() for name, value in pl_module.network.state_dict().items()}
        pl_module.network.load_state_dict(self.mean)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.network.load_state_dict(self._original)
        self._original = {}

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "num_updates": self.num_updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.mean, self.num_updates = state_dict["mean"], state_dict["num_updates"]


class EarlyStopping(Callback):
    """Stop after `patience` epochs without a better smoothed validation metric; an undefined one counts as no better.

    Lightning's callback of this name does not smooth, and one noisy epoch on few patients then decides.
    """

    def __init__(self, monitor: str, patience: int) -> None:
        self.monitor = f"val_{monitor}"
        self.sign = MONITOR_SIGNS[monitor]
        self.patience = patience
        self.smoothed = math.nan
        self.best = -math.inf
        self.epochs_since = 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metric = self.sign * float(trainer.callback_metrics[self.monitor])
        if not math.isnan(metric):
            earlier = metric if math.isnan(self.smoothed) else self.smoothed
            self.smoothed = SMOOTHING * earlier + (1 - SMOOTHING) * metric
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
    """Train one more layer group every `every` epochs, the head first (arXiv:1801.06146).

    Locked groups keep the statistics of their batch norms too. Which groups are trained follows from the epoch alone,
    so that a resumed run needs no state.
    """

    def __init__(self, every: int) -> None:
        self.every = every

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._lock(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._lock(trainer, pl_module)

    def _lock(self, trainer: Trainer, pl_module: LightningModule) -> None:
        num_groups = len(pl_module.network.layer_groups())
        unlocked = min(num_groups, 1 + trainer.current_epoch // self.every)
        pl_module.network.lock(unlocked_groups=unlocked, freeze_bn_stats=True)


class History(Callback):
    """Write history.csv, one row per epoch; the rows are saved in last.ckpt, so that a resumed run continues them.

    The mean training loss is summed here, because Lightning loses its own sum when a run resumes within an epoch.
    """

    def __init__(self, run_directory: RunDirectory) -> None:
        self.run_directory = run_directory
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
        metrics = {name: float(trainer.callback_metrics[name]) for name in ("val_loss", "val_auroc")}
        rate = max(group["lr"] for group in trainer.optimizers[0].param_groups)
        epoch = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        self.rows.append({**epoch, "train_loss": train_loss, **metrics, "learning_rate": rate})
        if trainer.is_global_zero:
            self.run_directory.write_history(self.rows)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "total": self.total, "count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.total, self.count = state_dict["rows"], state_dict["total"], state_dict["count"]


class SaveLast(Callback):
    """Write last.ckpt, the whole training state, after each epoch."""

    def __init__(self, run_directory: RunDirectory) -> None:
        self.run_directory = run_directory
        self.has_begun = False
        self.is_finished = False

    @property
    def state_key(self) -> str:
        return RUN_STATE

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if not self.has_begun and trainer.is_global_zero:
            self.run_directory.begin()
        self.has_begun = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.is_finished = trainer.should_stop or trainer.current_epoch + 1 >= trainer.max_epochs
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write the current state; every process must call it."""
        trainer.save_checkpoint(self.run_directory.paths.last)

    def state_dict(self) -> dict[str, Any]:
        return {"key": self.run_directory.key, "code_hash": hash_of_code(), "is_finished": self.is_finished}
