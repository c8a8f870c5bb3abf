"""Quantization-aware training: which weights the passes use, which are updated, and which are saved."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Callback
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from pipeline.models import Network
from pipeline.models.quantization import dequantize_weights, quantizable_weights, quantize_per_channel, quantize_weights
from pipeline.training.callbacks import NUM_AVERAGED, FakeQuantizedWeights
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
    """Of the first batch, through torch's fake quantization of the same layers."""
    network, batch = training.start(), next(iter(training.fold.scans.train_dataloader()))
    seen = dict(network.named_parameters())
    for name in quantizable_weights(network):
        scale = quantize_per_channel(seen[name])[1].flatten().detach()
        zero = torch.zeros_like(scale, dtype=torch.int32)
        seen[name] = torch.fake_quantize_per_channel_affine(seen[name], scale, zero, 0, -127, 127)
    loss = functional.cross_entropy(functional_call(network, seen, (batch["image"],)), batch["label"])
    names, parameters = zip(*network.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def test_updates_equal_those_of_torch_fake_quantization(tmp_path: Path) -> None:
    watch, plain = FirstStep(), FirstStep()
    training = SmallTraining(tmp_path / "aware", **ONE_STEP, **AWARE)
    training("run", watch)
    SmallTraining(tmp_path / "plain", **ONE_STEP)("run", plain)
    expected = torch_s_own_gradients(SmallTraining(tmp_path / "reference", **ONE_STEP))
    for name, gradient in expected.items():
        assert torch.allclose(watch.gradients[name], gradient, rtol=1e-3, atol=2e-5), name
    assert max((plain.gradients[name] - expected[name]).abs().max() for name in expected) > 1e-3


def test_a_second_swap_before_the_first_is_undone_is_an_error(tmp_path: Path) -> None:
    network = SmallTraining(tmp_path, **AWARE).start()
    weights, own = FakeQuantizedWeights(network), {name: w.clone() for name, w in network.state_dict().items()}
    weights.swap_in()
    with pytest.raises(RuntimeError, match="swapped in already"):
        weights.swap_in()
    weights.swap_out()
    assert_equal(network.state_dict(), own)


def rounded_state(network: Network, state: dict[str, Tensor]) -> dict[str, Tensor]:
    network.load_state_dict(state)
    return dequantize_weights(quantize_weights(network))


def assert_equal(state: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert state.keys() == other.keys()
    assert all(torch.equal(state[name], other[name]) for name in state)


@pytest.mark.parametrize("further", [{}, {"ema_decay": 0.9}, {"accumulate": 2, "deep_supervision": [0, 0, 1, 1]}])
def test_best_weights_are_quantized_and_training_keeps_the_original_ones(tmp_path: Path, further: dict) -> None:
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
    assert all(not torch.equal(own[name], best[name]) for name in quantizable_weights(network))


def test_lora_trains_over_quantized_weights(tmp_path: Path) -> None:
    training = SmallTraining(tmp_path, **AWARE)
    model = training.config.model.model_copy(update={"lora": {"rank": 2, "targets": ["blocks"]}})
    training.config = training.config.model_copy(update={"model": model})
    outcome, start = training("run"), training.start().state_dict()
    frozen = [name for name in start if "base_layer.weight" in name]
    assert frozen and all(torch.equal(outcome.network.state_dict()[name], start[name]) for name in frozen)
    assert any(not torch.equal(outcome.best.state_dict[name], start[name]) for name in frozen)
    assert_equal(outcome.best.state_dict, rounded_state(training.start(), outcome.best.state_dict))


class HeadWatch(Callback):
    """The head's weights after each update, and which parts learn in each epoch."""

    def __init__(self) -> None:
        self.weights: list[torch.Tensor] = []
        self.learning: list[int] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.weights.append(pl_module.network.head.weight.detach().clone())

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        groups = pl_module.network.parameter_groups().values()
        self.learning.append(sum(all(parameter.requires_grad for parameter in group) for group in groups))


def test_best_weights_are_the_ema_and_training_continues_with_the_original_ones(tmp_path: Path) -> None:
    plain, averaged = HeadWatch(), HeadWatch()
    SmallTraining(tmp_path / "plain", max_epochs=1)("run", plain)
    outcome = SmallTraining(tmp_path / "averaged", max_epochs=1, ema_decay=0.5)("run", averaged)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(averaged.weights, plain.weights, strict=True))
    # The mean forgets faster in the first updates: by 2/11 in the first, 3/12 in the second, …, never by more than 0.5.
    mean = SmallTraining(tmp_path / "start", max_epochs=1).start().head.weight.detach()
    for update, weights in enumerate(plain.weights, start=1):
        kept = min(0.5, (1 + update) / (10 + update))
        mean = kept * mean + (1 - kept) * weights
    assert torch.allclose(outcome.best.state_dict["head.weight"], mean, atol=1e-6)
    assert torch.equal(outcome.network.head.weight, plain.weights[-1])


def test_unfreezing_starts_at_the_head_and_adds_one_layer_group_each_time(tmp_path: Path) -> None:
    watch = HeadWatch()
    SmallTraining(tmp_path, max_epochs=5, unfreeze_every=2)("run", watch)
    assert watch.learning == [1, 1, 2, 2, 3]


def test_training_stops_when_the_smoothed_metric_no_longer_improves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    # At this rate nothing changes: the first epoch stays the best, two more are waited for.
    training = SmallTraining(tmp_path, max_epochs=9, patience=2, learning_rate=1e-12, monitor="loss")
    assert training("run").history["epoch"].tolist()[-1] <= 8 and "has not improved for 2 epochs" in caplog.text
    caplog.clear()
    training("run")
    assert "resuming" not in caplog.text


def test_without_a_defined_validation_metric_no_earlier_checkpoint_remains(
    tmp_path: Path,
) -> None:
    class Spoil(Callback):
        def on_validation_start(self, trainer, pl_module) -> None:
            torch.nn.init.constant_(pl_module.network.head.weight, torch.nan)

    for monitor in ("loss", "auroc"):
        training = SmallTraining(tmp_path, max_epochs=1, monitor=monitor)
        training("run")
        # As the train stage closes a training.
        (tmp_path / "run" / "best.json").write_text("{}")
        with pytest.raises(ValueError, match=f"val_{monitor} was NaN in every epoch.*learning_rate"):
            training("run", Spoil())
        assert not (tmp_path / "run" / "best.ckpt").exists()


def test_the_best_epoch_is_that_of_the_best_mean_over_three_epochs(tmp_path: Path) -> None:
    # At this rate the loss falls, rises and falls.
    settings = {"monitor": "loss", "max_epochs": 6, "optimizer": "sgd", "learning_rate": 0.5}
    outcome = SmallTraining(tmp_path, **settings)("run")
    losses = outcome.history["val_loss"]
    assert outcome.best.epoch == losses.rolling(3, min_periods=1).mean().idxmin() != losses.idxmin()
    assert outcome.best.score == pytest.approx(losses[outcome.best.epoch])


def test_of_thirty_equal_epochs_a_mean_over_three_chooses_a_less_lucky_one() -> None:
    metrics = np.random.default_rng(0).normal(size=(2000, 30))
    smoothed = pd.DataFrame(metrics.T).rolling(NUM_AVERAGED, min_periods=1).mean().to_numpy()
    chosen = metrics[np.arange(2000), smoothed.argmax(0)].mean()
    assert metrics.max(1).mean() == pytest.approx(2.04, abs=0.05) and chosen < 0.65 * metrics.max(1).mean()
