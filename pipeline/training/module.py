"""The Lightning module that trains every network; it does not depend on the architecture.

Axes: B batch, C channels, D H W depth height width, K classes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from pipeline.config import Training
from pipeline.training.distributed import clip_gradients, gather, shard
from pipeline.training.errors import format_not_finite
from pipeline.training.losses import Loss, StageClassifiers, plain_loss
from pipeline.training.optim import build_optimizer, cosine_with_warmup
from pipeline.training.targets import Task, by_patient, probabilities, validation_auroc

Batch = dict[str, Any]
Mix = Callable[..., tuple[Tensor, Tensor]]
"""(volumes, soft targets, epoch=, scan_ids=) -> mixed volumes and soft targets."""


@dataclass(frozen=True)
class LastBatch:
    """Loss and scans of the last training step."""

    loss: Tensor
    scan_ids: list[str]


class Classifier(LightningModule):
    """Train a network from volumes (B, C, D, H, W) to logits (B, K).

    `training` has no `auto` left; `stage_classifiers` add deep supervision, `mix` applies mixup or CutMix to a batch.
    `val_patients` are the patients of the validation scans, in the order of their table.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Loss,
        training: Training,
        *,
        task: Task = "multiclass",
        stage_classifiers: StageClassifiers | None = None,
        mix: Mix | None = None,
        val_patients: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.training_settings = training
        self.task = task
        self.stage_classifiers = stage_classifiers
        self.mix = mix
        self.val_patients = list(val_patients)
        self.last_batch: LastBatch | None = None
        self.gradient_norm = math.nan
        """At the last update, before clipping."""
        self._validated: list[tuple[Tensor, Tensor, Tensor]] = []

    def configure_model(self) -> None:
        if self.training_settings.strategy == "fsdp":
            shard(self.network, self.device_mesh["data_parallel"])

    def forward(self, volume: Tensor) -> Tensor:
        return self.network(volume)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        volumes, targets = self.mixed(batch)
        if self.stage_classifiers is None:
            loss = self.loss(self(volumes), targets)
        else:
            loss = self.stage_classifiers.loss(self.network.forward_stages(volumes), targets, self.loss)
        if not torch.isfinite(loss):
            raise ValueError(format_not_finite(f"the loss is {loss.item()}", batch["scan_id"]))
        self.last_batch = LastBatch(loss.detach(), batch["scan_id"])
        return loss

    def mixed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Volumes and targets of the batch, mixed if `mix` is set."""
        volumes, targets = batch["image"], batch["label"]
        if self.mix is None:
            return volumes, targets
        soft_targets = functional.one_hot(targets, self.network.num_classes) if targets.dim() == 1 else targets
        return self.mix(volumes, soft_targets, epoch=self.current_epoch, scan_ids=batch["scan_id"])

    def validation_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Returns the logits (B, K) for callbacks."""
        logits = self(batch["image"]).float().cpu()
        self._validated.append((batch["index"].cpu(), logits, batch["label"].cpu()))
        return logits

    def on_validation_epoch_end(self) -> None:
        logits, targets = by_patient(*gather(self._validated), self.val_patients, self.task)
        self._validated.clear()
        self.log("val_loss", plain_loss(self.task)(logits, targets), prog_bar=True)
        self.log("val_auroc", validation_auroc(probabilities(logits, self.task), targets), prog_bar=True)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by the norm over all parameters; raise on a non-finite gradient before it reaches the weights."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.gradient_norm = float(clip_gradients(parameters, gradient_clip_val))
        if not math.isfinite(self.gradient_norm):
            raise ValueError(
                format_not_finite(f"the norm of the gradient is {self.gradient_norm}", self.last_batch.scan_ids)
            )

    def configure_optimizers(self) -> dict[str, Any]:
        training = self.training_settings
        optimizer = build_optimizer(
            self.network,
            training.optimizer,
            learning_rate=training.learning_rate,
            weight_decay=training.weight_decay,
            layer_decay=training.layer_decay,
            further=self.stage_classifiers.parameters() if self.stage_classifiers else (),
        )
        num_updates = int(self.trainer.estimated_stepping_batches)
        schedule = cosine_with_warmup(optimizer, num_updates=num_updates, warmup_fraction=training.warmup_fraction)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
