"""Int8 weights: one code per weight and one scale per output channel of a layer.

Arithmetic stays in floating point: codes become weights again when they are loaded. A file is a quarter as large and
no network is faster; the cost in accuracy has to be measured. Quantizing a dequantized weight gives the same bits.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from pipeline.models.network import Network

LAYERS = (nn.Conv2d, nn.Conv3d, nn.Linear)
SCALE = ".int8_scale"
"""Suffix of a weight's name that names its scales."""
LARGEST_CODE = 127
CODE_BITS = 7
"""Bits of the largest code. A scale has as many zeros at its end, so that its product with a code is exact."""
SMALLEST = 1e-30
"""A channel without a larger weight becomes zero: smaller scales would lose bits."""


def quantize_weights(network: Network) -> dict[str, Tensor]:
    """The network's state, on the CPU, with codes and scales in place of its layers' weights."""
    state = {name: value.cpu() for name, value in network.state_dict().items()}
    for name in quantizable_weights(network):
        state[name], state[name + SCALE] = quantize_per_channel(state[name])
    return state


def dequantize_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo `quantize_weights`: the state in floating point. A state without codes is returned unchanged."""
    scales = {name.removesuffix(SCALE): value for name, value in state.items() if name.endswith(SCALE)}
    return {
        name: value * scales[name] if name in scales else value
        for name, value in state.items()
        if not name.endswith(SCALE)
    }


def quantizable_weights(network: Network) -> Iterator[str]:
    """Names of the weights of convolutions and linear layers, except the first and the last, which need precision."""
    ends = set()
    for prefix, module in network.named_modules():
        if isinstance(module, Network):
            ends |= {f"{prefix}.{name}".removeprefix(".") for name in (module.first_conv, module.classifier)}
    for name, module in network.named_modules():
        # Match prefixes too: a low-rank update adds layers inside the layer that it adapts.
        if isinstance(module, LAYERS) and not any(f"{name}.".startswith(f"{end}.") for end in ends):
            yield f"{name}.weight"


def quantize_per_channel(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight (K, …) -> int8 codes (K, …), symmetric about zero, and scales (K, 1, …); codes * scales ≈ weight."""
    largest = weight.abs().amax(dim=tuple(range(1, weight.dim())), keepdim=True)
    scale = torch.where(largest > SMALLEST, clear_low_bits(largest / LARGEST_CODE), 1.0)
    return (weight / scale).round().to(torch.int8), scale


def fake_quantize(weight: Tensor) -> Tensor:
    """A weight (K, …) quantized and dequantized, still in floating point."""
    codes, scale = quantize_per_channel(weight)
    return codes * scale


def clear_low_bits(scale: Tensor) -> Tensor:
    """Positive float32 numbers with their last `CODE_BITS` bits set to zero."""
    return (scale.view(torch.int32) & -(1 << CODE_BITS)).view(torch.float32)
