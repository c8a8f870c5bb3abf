"""Weights in eight bits: an int8 each, and a scale for each output channel of a layer.

Arithmetic stays in floating point: codes become weights again when they are loaded. So a file is a quarter as large and
no network is faster; what the rounding costs in accuracy has to be measured. Weights that were rounded once are rounded
to the same bits again.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from pipeline.models.network import Network

LAYERS = (nn.Conv2d, nn.Conv3d, nn.Linear)
SCALE = ".int8_scale"
"""What is added to the name of a weight to name its scales."""
LARGEST_CODE = 127
CODE_BITS = 7
"""Bits of the largest code. A scale leaves as many of its own zero, so that its product with a code is exact."""
SMALLEST = 1e-30
"""A channel without a larger weight is zero: below, scales would lose bits."""


def quantise_weights(network: Network) -> dict[str, Tensor]:
    """The network's state, on the CPU, with codes and scales in place of its layers' weights."""
    state = {name: value.cpu() for name, value in network.state_dict().items()}
    for name in quantisable(network):
        state[name], state[name + SCALE] = to_codes(state[name])
    return state


def dequantise_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state in floating point, of one that `quantise_weights` made or of any other, which stays as it is."""
    scales = {name.removesuffix(SCALE): value for name, value in state.items() if name.endswith(SCALE)}
    return {
        name: value * scales[name] if name in scales else value
        for name, value in state.items()
        if not name.endswith(SCALE)
    }


def quantisable(network: Network) -> Iterator[str]:
    """Names of weights: all convolutions and linear layers but the first and the last, where errors are felt most."""
    ends = set()
    for prefix, module in network.named_modules():
        if isinstance(module, Network):
            ends |= {joined(prefix, module.first_conv), joined(prefix, module.classifier)}
    for name, module in network.named_modules():
        # By the beginning too: low-rank updates put layers inside the one that they adapt.
        if isinstance(module, LAYERS) and not any(f"{name}.".startswith(f"{end}.") for end in ends):
            yield f"{name}.weight"


def joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def to_codes(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight (K, …) -> int8 codes (K, …), symmetric about zero, and scales (K, 1, …), whose product it is nearly."""
    largest = weight.abs().amax(dim=tuple(range(1, weight.dim())), keepdim=True)
    scale = torch.where(largest > SMALLEST, shortened(largest / LARGEST_CODE), 1.0)
    return (weight / scale).round().to(torch.int8), scale


def shortened(scale: Tensor) -> Tensor:
    """The same positive float32 numbers without their last `CODE_BITS` bits."""
    return (scale.view(torch.int32) & -(1 << CODE_BITS)).view(torch.float32)


def rounded(weight: Tensor) -> Tensor:
    """A weight (K, …) as it comes back from eight bits."""
    codes, scale = to_codes(weight)
    return codes * scale
