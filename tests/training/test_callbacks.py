"""Quantisation-aware training: which weights the passes see, which are updated, and which are kept."""

from pathlib import Path

import pytest
import torch
from lightning import Callback
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from pipeline.models import Network
from pipeline.models.quantization import dequantise_weights, quantisable, quantise_weights, to_codes
from pipeline.training.callbacks import FakeQuantizedWeights
from pipeline.training.checkpoint import load_weights_only
from tests.training.small import Outcome, SmallTraining

AWARE = {"quantization_aware": True}
RATE = 0.01
# One step of plain descent: Nesterov's first is of 1.9 gradients.
ONE_STEP = {"optimizer": "sgd", "learning_rate": RATE, "warmup_fraction": 0.0, "weight_decay": 0.0, "clip_norm": 1e6}
# A layer scale of 1, for under a usual one the blocks hardly have a gradient.
ONE_STEP |= {"max_epochs": 1, "options": {"drop_rate": 0.0, "layer_scale_init_value": 1.0}}


class FirstStep(Callback):
    """The gradients that the first update was made of, by how far it moved the weights."""

    def __init__(self) -> None:
        self.before: dict[str, Tensor] = {}
        self.gradients: dict[str, Tensor] = {}

    def on_train_start(self, trainer, pl_module) -> None:
        self.before = {name: value.detach().clone() for name, value in pl_module.network.named_parameters()}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if batch_idx == 0:
            moved = {name: self.before[name] - value.detach() for name, value in pl_module.network.named_parameters()}
            self.gradients = {name: way / (1.9 * RATE) for name, way in moved.items()}


def torch_s_own_gradients(training: SmallTraining) -> dict[str, Tensor]:
    """Of the first batch, through torch's fake quantisation of the same layers."""
    network, batch = training.start(), next(iter(training.fold.scans.train_dataloader()))
    seen = dict(network.named_parameters())
    for name in quantisable(network):
        scale = to_codes(seen[name])[1].flatten().detach()
        zero = torch.zeros_like(scale, dtype=torch.int32)
        seen[name] = torch.fake_quantize_per_channel_affine(seen[name], scale, zero, 0, -127, 127)
    loss = functional.cross_entropy(functional_call(network, seen, (batch["volume"],)), batch["label"])
    names, parameters = zip(*network.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def test_an_update_is_that_of_torch_s_fake_quantisation_and_not_that_of_whole_weights(tmp_path: Path) -> None:
    watch, plain = FirstStep(), FirstStep()
    training = SmallTraining(tmp_path / "aware", **ONE_STEP, **AWARE)
    training("run", watch)
    SmallTraining(tmp_path / "plain", **ONE_STEP)("run", plain)
    expected = torch_s_own_gradients(SmallTraining(tmp_path / "reference", **ONE_STEP))
    for name, gradient in expected.items():
        assert torch.allclose(watch.gradients[name], gradient, rtol=1e-3, atol=2e-5), name
    assert max((plain.gradients[name] - expected[name]).abs().max() for name in expected) > 1e-3


def test_weights_are_not_put_aside_a_second_time_before_they_are_back(tmp_path: Path) -> None:
    network = SmallTraining(tmp_path, **AWARE).start()
    weights, own = FakeQuantizedWeights(network), {name: w.clone() for name, w in network.state_dict().items()}
    weights.swap_in()
    with pytest.raises(RuntimeError, match="in place already"):
        weights.swap_in()
    weights.swap_out()
    assert_equal(network.state_dict(), own)


def rounded_state(network: Network, state: dict[str, Tensor]) -> dict[str, Tensor]:
    network.load_state_dict(state)
    return dequantise_weights(quantise_weights(network))


def assert_equal(state: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert state.keys() == other.keys()
    assert all(torch.equal(state[name], other[name]) for name in state)


@pytest.mark.parametrize("further", [{}, {"ema_decay": 0.9}, {"accumulate": 2, "deep_supervision": [0, 0, 1, 1]}])
def test_the_best_weights_are_rounded_ones_and_training_keeps_its_own(tmp_path: Path, further: dict) -> None:
    training = SmallTraining(tmp_path, **AWARE, **further, max_epochs=1)
    outcome: Outcome = training("run")
    best, network = outcome.best.state_dict, training.start()
    assert_equal(best, rounded_state(network, best))
    last = load_weights_only(tmp_path / "run" / "last.ckpt")
    own = {name.removeprefix("network."): w for name, w in last["state_dict"].items() if name.startswith("network.")}
    assert_equal(own, outcome.network.state_dict())
    assert_equal(
        best, rounded_state(network, last["callbacks"]["EMAWeights"]["mean"] if further.get("ema_decay") else own)
    )
    assert all(not torch.equal(own[name], best[name]) for name in quantisable(network))


def test_low_rank_updates_learn_over_rounded_weights(tmp_path: Path) -> None:
    training = SmallTraining(tmp_path, **AWARE)
    model = training.config.model.model_copy(update={"lora": {"rank": 2, "targets": ["blocks"]}})
    training.config = training.config.model_copy(update={"model": model})
    outcome, start = training("run"), training.start().state_dict()
    frozen = [name for name in start if "base_layer.weight" in name]
    assert frozen and all(torch.equal(outcome.network.state_dict()[name], start[name]) for name in frozen)
    assert any(not torch.equal(outcome.best.state_dict[name], start[name]) for name in frozen)
    assert_equal(outcome.best.state_dict, rounded_state(training.start(), outcome.best.state_dict))
