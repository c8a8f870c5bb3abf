"""A running mean of the weights (EMA), which validates better than the last step of a noisy training."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor


class AverageWeights(Callback):
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
