"""Failures of a training that say what to change."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch
from lightning import Callback

from tests.training.small import SmallTraining


def test_a_non_finite_gradient_raises_before_it_reaches_the_weights(tmp_path: Path) -> None:
    class Spoil(Callback):
        def on_after_backward(self, trainer, pl_module) -> None:
            next(pl_module.network.parameters()).grad.fill_(torch.nan)

    training = SmallTraining(tmp_path)
    with pytest.raises(ValueError, match=r"gradient is nan on scans s\d, s\d.*learning_rate"):
        training("run", Spoil())


def test_an_out_of_memory_error_says_what_to_change(tmp_path: Path) -> None:
    class Hoard(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
            torch.empty(2**60)

    says = "out of memory with batches of 2; try training.batch_size=1.*accumulate=2.*except for batch norm"
    with pytest.raises(ValueError, match=says):
        SmallTraining(tmp_path)("run", Hoard())


def test_a_loader_process_that_dies_is_an_error_that_says_what_to_set(tmp_path: Path) -> None:
    class KillLoader(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
            # The first child process is a loader, since nothing else was started.
            [os.kill(child.pid, signal.SIGKILL) for child in multiprocessing.active_children()]

    with pytest.raises(ValueError, match=r"a loader process died \(DataLoader worker .*training.num_workers below 1"):
        SmallTraining(tmp_path, num_workers=1)("run", KillLoader())
