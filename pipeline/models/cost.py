"""Parameters, multiply-accumulates and memory of a network on an input of a given size, from meta tensors."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from pipeline.models.build import build_model


@dataclass(frozen=True)
class Cost:
    """The cost of one input in float32: half that of two, because batch norms cannot train on a single voxel."""

    parameters: int
    macs: int
    """Multiply-accumulates of the convolutions and matrix products of a forward pass."""
    weight_bytes: int
    kept_bytes: int
    """Memory kept between the forward and the backward pass of a training step, without the weights."""

    @property
    def memory_bytes(self) -> int:
        """Weights and kept activations."""
        return self.weight_bytes + self.kept_bytes


def measure_cost(
    name: str, size: Sequence[int], *, in_channels: int = 1, num_classes: int = 2, volume: str | None = None
) -> Cost:
    """The cost of the registered model `name` on one input (C, *size), computed on meta tensors."""
    with torch.device("meta"):
        options = {"spatial_dims": 2} if len(size) == 2 else {}
        model = build_model(name, in_channels=in_channels, num_classes=num_classes, volume=volume, **options)
        x = torch.empty(2, in_channels, *size)
    return cost_of(model, x)


def cost_of(model: nn.Module, x: Tensor) -> Cost:
    """The cost of one of the two inputs in `x`; both `x` and the model are on the meta device."""
    weights, kept = _Storages(), _Storages()
    for state in model.state_dict().values():
        weights.add(state)
    with FlopCounterMode(display=False) as flops, saved_tensors_hooks(kept.add, lambda tensor: tensor):
        model.train()(x)
    return Cost(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        macs=flops.get_total_flops() // 4,
        weight_bytes=weights.total_bytes(),
        kept_bytes=kept.without(weights).total_bytes() // 2,
    )


class _Storages:
    """Memory of tensors, each storage counted once even if several tensors share it."""

    def __init__(self, storages: dict[int, torch.UntypedStorage] | None = None) -> None:
        self._storages = storages or {}

    def add(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._storages[storage._cdata] = storage
        return tensor

    def without(self, others: "_Storages") -> "_Storages":
        return _Storages({key: value for key, value in self._storages.items() if key not in others._storages})

    def total_bytes(self) -> int:
        return sum(storage.nbytes() for storage in self._storages.values())
