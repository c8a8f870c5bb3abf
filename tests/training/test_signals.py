"""Ctrl-C and SIGTERM: the training saves, exits, and resumes to the same result."""

import logging
import signal
from pathlib import Path

import pytest

from tests.training.small import SendSignal, SmallTraining

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
def test_a_signal_saves_says_how_to_resume_and_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, number: int, epoch: int, batch: int, settings: dict
) -> None:
    training = SmallTraining(tmp_path, **settings)
    whole = training("whole")
    caplog.set_level(logging.INFO)
    with pytest.raises(SystemExit) as stopped:
        training("stopped", SendSignal(number, epoch=epoch, batch=batch))
    assert stopped.value.code == 128 + number
    assert "the same command resumes" in caplog.text
    assert training("stopped").is_same_as(whole)
    assert (tmp_path / "stopped/best.ckpt").read_bytes() == (tmp_path / "whole/best.ckpt").read_bytes()
    assert "resuming from epoch" in caplog.text


@pytest.mark.parametrize("is_stopped", [False, True])
def test_the_earlier_signal_handlers_are_restored_after_training(tmp_path: Path, is_stopped: bool) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    training = SmallTraining(tmp_path, max_epochs=2)
    if is_stopped:
        with pytest.raises(SystemExit):
            training("run", SendSignal(signal.SIGTERM, epoch=0, batch=1))
    else:
        training("run")
    assert [signal.getsignal(number) for number in numbers] == before
