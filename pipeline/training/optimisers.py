"""Optimiser and learning-rate schedule."""

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

FINAL_FRACTION = 0.01


def build_optimizer(
    network: nn.Module, name: str, *, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """AdamW or SGD; vectors (norms, biases, layer scales) are not decayed."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate)
    return torch.optim.SGD(groups, lr=learning_rate, momentum=0.9, nesterov=True)


def warmup_cosine(optimizer: torch.optim.Optimizer, *, num_updates: int, warmup_fraction: float) -> LambdaLR:
    """Rise linearly over the warm-up, then follow a cosine down to 1 % of the peak."""
    warmup = round(num_updates * warmup_fraction)

    def factor(update: int) -> float:
        if update < warmup:
            return (update + 1) / (warmup + 1)
        progress = (update - warmup) / max(1, num_updates - warmup)
        return FINAL_FRACTION + (1 - FINAL_FRACTION) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    return LambdaLR(optimizer, factor)
