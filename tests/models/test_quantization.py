"""Eight bits a weight: how near they are, and which layers keep all their bits."""

import pytest
import torch
from torch import nn

from pipeline.models import build_model
from pipeline.models.quantization import (
    SCALE,
    dequantize_weights,
    fake_quantize,
    quantizable_weights,
    quantize_per_channel,
    quantize_weights,
)


def test_codes_and_scales_are_those_worked_by_hand() -> None:
    codes, scale = quantize_per_channel(torch.tensor([[1.27, -0.64, 0.004], [0.0, 0.0, 0.0]]))
    assert codes.tolist() == [[127, -64, 0], [0, 0, 0]] and codes.dtype == torch.int8
    assert scale.flatten().tolist() == pytest.approx([0.01, 1.0], rel=2e-5)


def test_what_was_rounded_is_rounded_to_the_same_bits_again() -> None:
    size = 10.0 ** torch.linspace(-36, 36, 999)[:, None]
    weight = torch.randn(999, 64, generator=torch.manual_seed(0)) * size
    once = fake_quantize(weight)
    assert torch.isfinite(once).all() and torch.equal(fake_quantize(once), once)
    (codes, scale), (again, same_scale) = quantize_per_channel(weight), quantize_per_channel(once)
    assert torch.equal(codes, again) and torch.equal(scale, same_scale) and codes.abs().amax() == 127
    assert ((once - weight).abs() <= 0.501 * scale).all()


@pytest.mark.parametrize(
    ("name", "volume", "kept"),
    [
        ("poolformer_s12", None, {"stem", "head"}),
        ("resnet18", None, {"conv1", "fc"}),
        ("resnet18", "slicewise", {"encoder.conv1", "head"}),
    ],
)
def test_all_layers_but_the_first_and_the_last_are_rounded_by_half_a_step_at_most(
    name: str, volume: str | None, kept: set[str]
) -> None:
    torch.manual_seed(0)
    options = {"spatial_dims": 3} if volume is None else {}
    network = build_model(name, volume=volume, **options)
    state, again = quantize_weights(network), dequantize_weights(quantize_weights(network))
    assert again.keys() == network.state_dict().keys()
    layers = {key for key, module in network.named_modules() if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.Linear))}
    assert layers - {key.removesuffix(".weight") for key in quantizable_weights(network)} == kept
    for key, value in network.state_dict().items():
        if key + SCALE in state:
            assert ((again[key] - value).abs() <= 0.501 * state[key + SCALE]).all(), key
        else:
            assert torch.equal(again[key], value), key
    network.load_state_dict(again)


def test_the_first_and_the_last_layer_keep_their_bits_under_low_rank_updates() -> None:
    network = build_model("poolformer_s12", spatial_dims=3, depths=(1, 1, 1, 1), lora={"rank": 2})
    names = [name for name, _ in network.named_parameters()]
    assert any(name.startswith("stem.") and "lora" in name for name in names)
    assert not [name for name in quantizable_weights(network) if name.startswith(("stem.", "head."))]


def test_a_state_that_was_never_quantized_stays_as_it_is() -> None:
    state = nn.Linear(2, 3).state_dict()
    assert all(torch.equal(dequantize_weights(state)[name], state[name]) for name in state)
