"""The one Lightning module: it receives a built network and never asks which kind.

Axes: B batch, C channels, D H W depth height width, K classes.
"""

from typing import Any

import torch
from lightning import LightningModule
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from pipeline.training.optimisers import build_optimizer, warmup_cosine

Batch = dict[str, Any]


class Classifier(LightningModule):
    """Cross-entropy training of a network from volumes (B, C, D, H, W) to logits (B, K).

    `class_weights` of shape (K,) scale each class in the loss; `optimizer`, `learning_rate`, `weight_decay` and
    `warmup_fraction` are those of `config.Training`.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        optimizer: str,
        learning_rate: float,
        weight_decay: float,
        warmup_fraction: float,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.optimizer_name = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_fraction = warmup_fraction
        self.loss = nn.CrossEntropyLoss(weight=class_weights, label_smoothing=label_smoothing)
        self._val_logits: list[Tensor] = []
        self._val_labels: list[Tensor] = []

    def forward(self, volume: Tensor) -> Tensor:
        return self.network(volume)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        loss = self.loss(self(batch["volume"]), batch["label"])
        if not torch.isfinite(loss):
            raise ValueError(
                f"training: the loss is {loss.item()} on scans {', '.join(batch['scan_id'])}, "
                "expected a finite number; lower training.learning_rate, or look at those scans."
            )
        self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(batch["label"]))
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        self._val_logits.append(self(batch["volume"]).float().cpu())
        self._val_labels.append(batch["label"].cpu())

    def on_validation_epoch_end(self) -> None:
        logits, labels = torch.cat(self._val_logits), torch.cat(self._val_labels)
        self._val_logits.clear()
        self._val_labels.clear()
        self.log("val_loss", nn.functional.cross_entropy(logits, labels), prog_bar=True)
        self.log("val_auroc", scan_auroc(logits.softmax(1), labels), prog_bar=True)

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = build_optimizer(
            self.network, self.optimizer_name, learning_rate=self.learning_rate, weight_decay=self.weight_decay
        )
        num_updates = int(self.trainer.estimated_stepping_batches)
        schedule = warmup_cosine(optimizer, num_updates=num_updates, warmup_fraction=self.warmup_fraction)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def scan_auroc(probs: Tensor, labels: Tensor) -> float:
    """AUROC over scans, one against the rest where there are more than two classes; NaN without every class.

    `probs` is (B, K), `labels` (B,). It only picks checkpoints; reported figures are per patient, from predictions.csv.
    """
    if len(labels.unique()) < probs.shape[1]:
        return float("nan")
    if probs.shape[1] == 2:
        return float(roc_auc_score(labels, probs[:, 1]))
    return float(roc_auc_score(labels, probs.double() / probs.double().sum(1, keepdim=True), multi_class="ovr"))
