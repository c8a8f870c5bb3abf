"""Optimizer and learning-rate schedule."""

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

FINAL_FRACTION = 0.01
"""Of the peak learning rate, at the end of the schedule."""


def build_optimizer(
    network: nn.Module,
    name: str,
    *,
    learning_rate: float,
    weight_decay: float,
    layer_decay: float = 1.0,
    further: Iterable[nn.Parameter] = (),
) -> torch.optim.Optimizer:
    """AdamW or SGD; vectors (norms, biases, layer scales) have no weight decay.

    `layer_decay` under 1 lowers the learning rate of each layer group by its distance from the head
    (`Network.parameter_groups`); `further` parameters, such as those of stage classifiers, have the head's rate.
    """
    factors = learning_rate_factors(network, layer_decay)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in (*network.parameters(), *further):
        if parameter.requires_grad:
            decay = weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((factors.get(id(parameter), 1.0), decay), []).append(parameter)
    settings = [
        {"params": parameters, "lr": learning_rate * factor, "weight_decay": decay}
        for (factor, decay), parameters in sorted(groups.items(), key=lambda group: group[0], reverse=True)
    ]
    if name == "adamw":
        # One pass over the weights instead of a dozen: a tenth of a step on a CPU.
        return torch.optim.AdamW(settings, lr=learning_rate, fused=True)
    return torch.optim.SGD(settings, lr=learning_rate, momentum=0.9, nesterov=True)


def learning_rate_factors(network: nn.Module, layer_decay: float) -> dict[int, float]:
    """Factor on the learning rate by the parameter's id: `layer_decay` to the power of the distance from the head."""
    if layer_decay == 1:
        return {}
    return {
        id(parameter): layer_decay**distance
        for distance, parameters in enumerate(reversed(network.parameter_groups().values()))
        for parameter in parameters
    }


def cosine_with_warmup(optimizer: torch.optim.Optimizer, *, num_updates: int, warmup_fraction: float) -> LambdaLR:
    """Linear warm-up, then a cosine down to 1 % of the peak."""
    warmup = round(num_updates * warmup_fraction)

    def factor(update: int) -> float:
        if update < warmup:
            return (update + 1) / (warmup + 1)
        progress = (update - warmup) / max(1, num_updates - warmup)
        return FINAL_FRACTION + (1 - FINAL_FRACTION) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    return LambdaLR(optimizer, factor)
