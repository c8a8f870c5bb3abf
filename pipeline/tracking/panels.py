"""Sample slices with predictions while a network trains; they hold pixels, so only where these may leave."""

from typing import Any

import numpy as np
from lightning import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor

from pipeline.tracking.payload import Picture, middle_slice
from pipeline.tracking.privacy import pseudonym
from pipeline.tracking.wandb_run import TrackedRun
from pipeline.training.targets import Task, probabilities

MAX_SLICES = 8


class SlicePanel(Callback):
    """Every few epochs, the middle slices of the first validation scans with what the network says of them.

    It shows what validation has computed anyway: nothing runs twice, and weights may be spread over processes.
    """

    def __init__(self, run: TrackedRun, classes: list[str], task: Task, *, every: int, key: bytes) -> None:
        """`key` is that of the pseudonyms."""
        self.run = run
        self.task = task
        self.classes = classes
        self.every = every
        self.key = key
        self.gathered: list[Picture] = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """`outputs` are the logits of the batch."""
        room = MAX_SLICES - len(self.gathered)
        if room and (trainer.current_epoch + 1) % self.every == 0:
            self.run.attempt(lambda _: self.gathered.extend(self.pictures(batch, outputs)[:room]))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.gathered:
            self.run.stage_pictures("slices", self.gathered)
        self.gathered = []

    def pictures(self, batch: dict[str, Any], logits: Tensor) -> list[Picture]:
        volumes, labels = batch["volume"].cpu().numpy(), batch["label"].cpu().numpy()
        probs = probabilities(logits.float(), self.task).cpu().numpy()
        return [
            Picture(middle_slice(volume[0]), self.caption(scan_id, label, prob))
            for volume, scan_id, label, prob in zip(volumes, batch["scan_id"], labels, probs, strict=True)
        ]

    def caption(self, scan_id: str, label: NDArray, prob: NDArray[np.float32]) -> str:
        """Pseudonym, true classes, and what the network says of each class."""
        present = np.flatnonzero(label) if label.ndim else [int(label)]
        true = ", ".join(self.classes[index] for index in present) or "none"
        said = ", ".join(f"{name} {value:.2f}" for name, value in zip(self.classes, prob, strict=True))
        return f"{pseudonym(scan_id, self.key)}: {true}; called {said}"
