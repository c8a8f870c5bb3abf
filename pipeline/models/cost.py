"""What a network costs on an input of a given size, counted without computing anything."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from pipeline.models.build import build_model


@dataclass(frozen=True)
class Cost:
    """Of one input, in float32."""

    parameters: int
    macs: int
    """Multiply-accumulates of the convolutions and matrix products of a forward pass."""
    memory_bytes: int
    """Weights, and what a training step keeps between the forward and the backward pass."""


def measure(
    name: str, size: Sequence[int], *, in_channels: int = 1, num_classes: int = 2, volume: str | None = None
) -> Cost:
    """The cost of the registered model `name` on one input (C, *size); meta tensors stand for all numbers."""
    with torch.device("meta"):
        spatial_dims = {"spatial_dims": 2} if len(size) == 2 else {}
        model = build_model(name, in_channels=in_channels, num_classes=num_classes, volume=volume, **spatial_dims).train()
        x = torch.empty(1, in_channels, *size)
    kept = _KeptTensors()
    with FlopCounterMode(display=False) as flops, saved_tensors_hooks(kept.add, lambda tensor: tensor):
        model(x)
    for state in model.state_dict().values():
        kept.add(state)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Cost(parameters, macs=flops.get_total_flops() // 2, memory_bytes=kept.total_bytes())


class _KeptTensors:
    """Storages that were seen, each counted once however many tensors share it."""

    def __init__(self) -> None:
        self._storages: dict[int, torch.UntypedStorage] = {}

    def add(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._storages[storage._cdata] = storage
        return tensor

    def total_bytes(self) -> int:
        return sum(storage.nbytes() for storage in self._storages.values())
