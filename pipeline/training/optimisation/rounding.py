"""Quantisation-aware training: a network learns with the weights that eight bits will leave it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from pipeline.models import Network
from pipeline.models.quantization import quantisable, rounded


class RoundedWeights:
    """Puts a network's weights as eight bits have them in the place of its own, and takes them out again.

    A gradient that is computed in between is used for the network's own weights as it is: the straight-through
    estimator (arXiv:1308.3432), without a clipped range, for the largest weight of a channel sets its scale. The
    parameters stay the same objects, with their names.
    """

    def __init__(self, network: Network) -> None:
        self.parameters = [network.get_parameter(name) for name in quantisable(network)]
        self._aside: list[Tensor] = []

    @torch.no_grad()
    def put_in(self) -> None:
        if self._aside:
            raise RuntimeError("rounded weights are in place already, and a second time would lose the network's own")
        self._aside = [parameter.clone() for parameter in self.parameters]
        for parameter in self.parameters:
            parameter.copy_(rounded(parameter))

    @torch.no_grad()
    def take_out(self) -> None:
        for parameter, own in zip(self.parameters, self._aside, strict=True):
            parameter.copy_(own)
        self._aside = []

    @contextmanager
    def in_place(self) -> Iterator[None]:
        self.put_in()
        try:
            yield
        finally:
            self.take_out()


class LearnRounded(Callback):
    """Forward and backward passes see rounded weights, updates change the network's own.

    Validation sees rounded weights too, and whoever keeps the best keeps those. In the list of callbacks it stands
    after that one and before `AverageWeights`, whose mean is in place by the time that validation's epoch starts, and
    is taken away after this has taken out what it put in.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights = RoundedWeights(pl_module.network)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        self.weights.put_in()

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights.take_out()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights.put_in()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights.take_out()
