"""From config to network and Lightning module."""

import torch
from torch import nn

from pipeline.config import Model, Training
from pipeline.models import build_model
from pipeline.training.classifier import Classifier


def build_network(model: Model, *, num_classes: int, in_channels: int = 1, pretrained: bool = True) -> nn.Module:
    """The network of a config; without `pretrained` its weights are about to be loaded from a run."""
    return build_model(
        model.name,
        in_channels=in_channels,
        num_classes=num_classes,
        volume=model.volume,
        pretrained=model.pretrained if pretrained else None,
        allow_missing=model.allow_missing,
        freeze=model.freeze,
        lora=model.lora,
        **model.options,
    )


def build_classifier(network: nn.Module, training: Training, label_counts: list[int]) -> Classifier:
    """The Lightning module; `label_counts` are the training scans of each class."""
    weights = None
    if training.class_weights == "balanced":
        counts = torch.tensor(label_counts, dtype=torch.float32)
        weights = counts.sum() / (len(counts) * counts)
    return Classifier(
        network,
        optimizer=training.optimizer,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        warmup_fraction=training.warmup_fraction,
        label_smoothing=training.label_smoothing,
        class_weights=weights,
    )
