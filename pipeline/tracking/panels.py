"""Sample slices with predictions while a network trains; they hold pixels, so only where these may leave."""

from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from numpy.typing import NDArray

from pipeline.tracking.contents import Picture
from pipeline.tracking.privacy import pseudonym
from pipeline.tracking.wandb_run import TrackedRun
from pipeline.training.objective.tasks import Task, probabilities

MAX_SLICES = 8


class SlicePanel(Callback):
    """Every few epochs, the middle slices of the first validation scans with what the network says of them."""

    def __init__(self, run: TrackedRun, classes: list[str], task: Task, *, every: int, project: str) -> None:
        self.run = run
        self.task = task
        self.classes = classes
        self.every = every
        self.project = project

    @torch.no_grad()
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx == 0 and (trainer.current_epoch + 1) % self.every == 0:
            probs = probabilities(pl_module(batch["volume"][:MAX_SLICES]), self.task).cpu().numpy()
            self.run.stage_pictures("slices", self.pictures(batch, probs))

    def pictures(self, batch: dict[str, Any], probs: NDArray[np.float32]) -> list[Picture]:
        volumes, labels = batch["volume"][:MAX_SLICES].cpu().numpy(), batch["label"].cpu().numpy()
        return [
            Picture(middle_slice(volume[0]), self.caption(scan_id, label, prob))
            for volume, scan_id, label, prob in zip(volumes, batch["scan_id"], labels, probs, strict=False)
        ]

    def caption(self, scan_id: str, label: NDArray, prob: NDArray[np.float32]) -> str:
        """Pseudonym, true classes, and what the network says of each class."""
        present = np.flatnonzero(label) if label.ndim else [int(label)]
        true = ", ".join(self.classes[index] for index in present) or "none"
        said = ", ".join(f"{name} {value:.2f}" for name, value in zip(self.classes, prob, strict=True))
        return f"{pseudonym(scan_id, self.project)}: {true}; called {said}"


def middle_slice(volume: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The slice (H, W) halfway along D of a volume (D, H, W), grey between its 1st and 99.5th percentile."""
    plane = volume[len(volume) // 2]
    low, high = np.percentile(plane, (1, 99.5))
    return (np.clip((plane - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
