"""What a training does, run in this process: resumed, averaged, unfrozen, stopped."""

import logging
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning import Callback

from pipeline.training.trainer import spoken
from tests.training.small import SendSignal, SmallTraining


@pytest.mark.parametrize(
    ("seconds", "says"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2.0 h"), (90_000, "25.0 h")],
)
def test_time_left_is_told_in_the_unit_one_would_use(seconds: float, says: str) -> None:
    assert spoken(seconds) == says


EVERYTHING = {
    "ema_decay": 0.9,
    "deep_supervision": [0, 0, 0.5, 0.5],
    "layer_decay": 0.7,
    "patience": 3,
    "sampling": "balanced",
    "accumulate": 2,
}


@pytest.mark.parametrize(
    ("number", "epoch", "batch", "settings"),
    [
        (signal.SIGTERM, 1, 1, {}),
        (signal.SIGINT, 1, 2, EVERYTHING),  # between two accumulated batches: one more is done first
        (signal.SIGTERM, 0, 4, EVERYTHING),  # in an epoch's last batch: its validation comes first
        (signal.SIGTERM, 1, 0, {"unfreeze_every": 1, "quantization_aware": True}),
        (signal.SIGTERM, 1, 2, {**EVERYTHING, "quantization_aware": True}),
    ],
)
def test_a_signal_saves_says_how_to_go_on_and_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, number: int, epoch: int, batch: int, settings: dict
) -> None:
    training = SmallTraining(tmp_path, **settings)
    whole = training("whole")
    caplog.set_level(logging.INFO)
    with pytest.raises(SystemExit) as stopped:
        training("stopped", SendSignal(number, epoch=epoch, batch=batch))
    assert stopped.value.code == 128 + number
    assert "the same command goes on" in caplog.text
    assert training("stopped").is_same_as(whole)
    assert "going on from epoch" in caplog.text


def test_the_same_training_twice_is_the_same_to_the_bit_with_any_number_of_workers(tmp_path: Path) -> None:
    alone = SmallTraining(tmp_path / "alone", **EVERYTHING)("run")
    assert SmallTraining(tmp_path / "again", **EVERYTHING)("run").is_same_as(alone)
    for num_workers in (1, 4):
        helped = SmallTraining(tmp_path / str(num_workers), num_workers=num_workers, **EVERYTHING)("run")
        assert helped.is_same_as(alone), num_workers


def test_a_finished_training_is_not_gone_on_with(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    training = SmallTraining(tmp_path, max_epochs=2)
    training("run")
    caplog.set_level(logging.INFO)
    training("run")
    assert "going on" not in caplog.text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: state["callbacks"]["SaveLast"].update(code_hash="other"), "another version of the code"),
        (lambda state: state["callbacks"]["SaveLast"].pop("code_hash"), "another version of the code"),
        (lambda state: state["callbacks"]["SaveLast"].update(key="other"), ""),
        (None, ""),  # a list, which is no state at all
    ],
)
def test_a_state_of_other_code_or_another_training_is_left_and_training_starts_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: Callable[[dict], object] | None, says: str
) -> None:
    training = SmallTraining(tmp_path)
    with pytest.raises(SystemExit):
        training("stopped", SendSignal(signal.SIGTERM, epoch=1, batch=1))
    last = tmp_path / "stopped" / "last.ckpt"
    state = torch.load(last, weights_only=True)
    if change:
        change(state)
    torch.save(state if change else [state], last)
    caplog.clear()
    assert training("stopped").history["epoch"].tolist() == [0, 1, 2]
    assert says in caplog.text and "going on" not in caplog.text


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_training_that_is_over_leaves_signals_to_whoever_had_them(tmp_path: Path, is_stopped: bool) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    training = SmallTraining(tmp_path, max_epochs=2)
    if is_stopped:
        with pytest.raises(SystemExit):
            training("run", SendSignal(signal.SIGTERM, epoch=0, batch=1))
    else:
        training("run")
    assert [signal.getsignal(number) for number in numbers] == before


class Watch(Callback):
    """The head's weights after each update, and which parts learn in each epoch."""

    def __init__(self) -> None:
        self.weights: list[torch.Tensor] = []
        self.learning: list[int] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.weights.append(pl_module.network.head.weight.detach().clone())

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        groups = pl_module.network.parameter_groups().values()
        self.learning.append(sum(all(parameter.requires_grad for parameter in group) for group in groups))


def test_the_best_weights_are_the_running_mean_and_training_goes_on_with_its_own(tmp_path: Path) -> None:
    plain, averaged = Watch(), Watch()
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


def test_unfreezing_starts_at_the_head_and_adds_a_part_each_time(tmp_path: Path) -> None:
    watch = Watch()
    SmallTraining(tmp_path, max_epochs=5, unfreeze_every=2)("run", watch)
    assert watch.learning == [1, 1, 2, 2, 3]


def test_training_stops_when_the_smoothed_figure_no_longer_improves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    # At this rate nothing changes: the first epoch stays the best, two more are waited for.
    training = SmallTraining(tmp_path, max_epochs=9, patience=2, learning_rate=1e-12, monitor="loss")
    assert training("run").history["epoch"].tolist()[-1] <= 8 and "has not improved for 2 epochs" in caplog.text
    caplog.clear()
    training("run")
    assert "going on" not in caplog.text


def test_without_one_defined_validation_figure_the_earlier_checkpoint_is_not_taken_for_this_one_s(
    tmp_path: Path,
) -> None:
    class Spoil(Callback):
        def on_validation_start(self, trainer, pl_module) -> None:
            torch.nn.init.constant_(pl_module.network.head.weight, torch.nan)

    for monitor in ("loss", "auroc"):
        training = SmallTraining(tmp_path, max_epochs=1, monitor=monitor)
        training("run")
        with pytest.raises(ValueError, match=f"val_{monitor} was a number in no epoch.*learning_rate"):
            training("run", Spoil())
        assert not (tmp_path / "run" / "best.ckpt").exists()


def test_a_gradient_that_is_no_number_stops_before_it_reaches_the_weights(tmp_path: Path) -> None:
    class Spoil(Callback):
        def on_after_backward(self, trainer, pl_module) -> None:
            next(pl_module.network.parameters()).grad.fill_(torch.nan)

    training = SmallTraining(tmp_path)
    with pytest.raises(ValueError, match=r"gradient is nan on scans s\d, s\d.*learning_rate"):
        training("run", Spoil())


def test_a_lack_of_memory_says_what_to_change(tmp_path: Path) -> None:
    class Hoard(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
            torch.empty(2**60)

    says = "out of memory with batches of 2; try training.batch_size=1.*accumulate=2.*but for a batch norm"
    with pytest.raises(ValueError, match=says):
        SmallTraining(tmp_path)("run", Hoard())


@pytest.mark.parametrize(
    ("labels", "cohort"),
    [
        (("one;two", "none", "two", "one"), {"task": "multilabel"}),
        (("low", "mid", "top"), {"task": "ordinal", "classes": ["low", "mid", "top"]}),
    ],
)
def test_several_labels_and_grades_are_learnt(tmp_path: Path, labels: tuple[str, ...], cohort: dict) -> None:
    training = SmallTraining(tmp_path, labels, cohort=cohort, max_epochs=12, learning_rate=1e-2)
    history = training("run").history
    assert history["train_loss"].iloc[-1] < 0.8 * history["train_loss"].iloc[0]


def test_half_precision_trains_and_keeps_whole_weights_and_goes_on_exactly(tmp_path: Path) -> None:
    half = SmallTraining(tmp_path / "half", precision="bf16-mixed")
    whole = SmallTraining(tmp_path / "whole")("run")
    outcome = half("run")
    assert {value.dtype for value in outcome.best.state_dict.values()} == {torch.float32}
    difference = (outcome.history["train_loss"] - whole.history["train_loss"]).abs().max()
    assert 0 < difference < 0.05
    with pytest.raises(SystemExit):
        half("stopped", SendSignal(signal.SIGTERM, epoch=1, batch=1))
    assert half("stopped").is_same_as(outcome)


def test_a_compiled_network_leaves_weights_by_their_usual_names(tmp_path: Path) -> None:
    plain = SmallTraining(tmp_path / "plain", max_epochs=1)("run")
    # Compilation takes minutes; what it computes is torch's affair, what it calls things is ours.
    torch.compiler.set_stance("force_eager")
    compiled = SmallTraining(tmp_path / "compiled", max_epochs=1, compile=True)("run")
    torch.compiler.set_stance("default")
    assert compiled.is_same_as(plain)


def test_each_epoch_says_its_figures_and_the_time_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    history = SmallTraining(tmp_path, max_epochs=2)("run").history
    lines = [message for message in caplog.messages if message.startswith("epoch ")]
    for number, (line, row) in enumerate(zip(lines, history.to_dict("records"), strict=True), start=1):
        figures = "  ".join(f"{name} {row[name]:.3f}" for name in ("train_loss", "val_loss", "val_auroc"))
        assert line.startswith(f"epoch {number}/2  {figures}  ") and line.endswith(" s left")
    assert lines[-1].endswith("  0 s left")
