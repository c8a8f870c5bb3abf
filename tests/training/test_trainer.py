"""Trainings in this process: deterministic, compiled, in half precision, for every task."""

import signal
from pathlib import Path

import pytest
import torch

from tests.training.small import SendSignal, SmallTraining

EVERYTHING = {
    "ema_decay": 0.9,
    "deep_supervision": [0, 0, 0.5, 0.5],
    "layer_decay": 0.7,
    "patience": 3,
    "sampling": "balanced",
    "accumulate": 2,
}


def test_a_training_is_bit_for_bit_repeatable_with_any_number_of_workers(tmp_path: Path) -> None:
    alone = SmallTraining(tmp_path / "alone", **EVERYTHING)("run")
    assert SmallTraining(tmp_path / "again", **EVERYTHING)("run").is_same_as(alone)
    for name in ("best.ckpt", "last.ckpt", "history.csv", "config.yaml"):
        first, second = ((tmp_path / folder / "run" / name).read_bytes() for folder in ("alone", "again"))
        assert first == second, name
    for num_workers in (1, 4):
        helped = SmallTraining(tmp_path / str(num_workers), num_workers=num_workers, **EVERYTHING)("run")
        assert helped.is_same_as(alone), num_workers


@pytest.mark.parametrize(
    ("labels", "cohort"),
    [
        (("one;two", "none", "two", "one"), {"task": "multilabel"}),
        (("low", "mid", "top"), {"task": "ordinal", "classes": ["low", "mid", "top"]}),
    ],
)
def test_multilabel_and_ordinal_targets_are_learned(tmp_path: Path, labels: tuple[str, ...], cohort: dict) -> None:
    training = SmallTraining(tmp_path, labels, cohort=cohort, max_epochs=12, learning_rate=1e-2)
    history = training("run").history
    assert history["train_loss"].iloc[-1] < 0.8 * history["train_loss"].iloc[0]


def test_bf16_training_saves_float32_weights_and_resumes_exactly(tmp_path: Path) -> None:
    half = SmallTraining(tmp_path / "half", precision="bf16-mixed")
    whole = SmallTraining(tmp_path / "whole")("run")
    outcome = half("run")
    assert {value.dtype for value in outcome.best.state_dict.values()} == {torch.float32}
    difference = (outcome.history["train_loss"] - whole.history["train_loss"]).abs().max()
    assert 0 < difference < 0.05
    with pytest.raises(SystemExit):
        half("stopped", SendSignal(signal.SIGTERM, epoch=1, batch=1))
    assert half("stopped").is_same_as(outcome)


def test_a_compiled_network_saves_weights_under_their_usual_names(tmp_path: Path) -> None:
    plain = SmallTraining(tmp_path / "plain", max_epochs=1)("run")
    # Compilation takes minutes; what it computes is torch's affair, what it calls things is ours.
    torch.compiler.set_stance("force_eager")
    compiled = SmallTraining(tmp_path / "compiled", max_epochs=1, compile=True)("run")
    torch.compiler.set_stance("default")
    assert compiled.is_same_as(plain)
