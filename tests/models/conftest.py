"""Fixtures of the model tests: fixed random numbers, and networks of every family that build in a moment."""

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn

from pipeline.models import Network
from tests.models import tiny


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def build_tiny() -> Callable[..., Network]:
    return tiny.build_tiny


@pytest.fixture
def kept_bytes() -> Callable[[nn.Module, Tensor, Iterable[nn.Module]], int]:
    """Bytes of activations that a forward pass keeps for the backward pass, each storage once.

    Recomputed blocks hold on to their inputs by themselves, so those are counted at the blocks.
    """

    def count(network: nn.Module, x: Tensor, blocks: Iterable[nn.Module]) -> int:
        weights = {weight.untyped_storage()._cdata for weight in network.parameters()}
        kept = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in weights:
                kept[storage._cdata] = storage
            return tensor

        def keep_input(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            keep(inputs[0])

        hooks = [block.register_forward_pre_hook(keep_input) for block in blocks]
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            network(x)
        for hook in hooks:
            hook.remove()
        return sum(storage.nbytes() for storage in kept.values())

    return count
