"""The steps of a training against those of a plain loop, for `benchmarks/training.py`."""

import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from lightning import Callback

from benchmarks.from_raw import fit_here, network_of
from benchmarks.monai_experiment import step
from pipeline.config import Config
from pipeline.core.paths import Artifacts
from pipeline.data.dataset import Batch
from pipeline.training.fold_data import Fold, load_fold
from pipeline.training.optim import build_optimizer, cosine_with_warmup

STEP_EPOCHS = 2


class Beside(Callback):
    """Before each step of a training, one of a plain loop, timed apart: what slows the one slows the other."""

    def __init__(self, plain_steps: Iterator[None]) -> None:
        self.plain_steps = plain_steps
        self.moments: list[tuple[float, float]] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        began = time.perf_counter()
        torch.use_deterministic_algorithms(False)
        next(self.plain_steps)
        torch.use_deterministic_algorithms(True, warn_only=True)
        self.moments.append((began, time.perf_counter()))

    def seconds(self) -> list[tuple[float, float]]:
        """Of each step here and of the plain one before it, without the first few, which set up memory."""
        pairs = zip(self.moments[2:], self.moments[3:], strict=False)
        return [(following - ended, ended - began) for (began, ended), (following, _) in pairs]


def seconds_a_step(config: Config, fold: Fold) -> list[tuple[float, float]]:
    """Here and in a plain loop, on the batches of as many epochs."""
    training = fold.training.model_copy(update={"max_epochs": STEP_EPOCHS})
    beside = Beside(plain_loop(config, fold))
    fit_here(config, replace(fold, training=training), "steps", beside)
    return beside.seconds()


def plain_loop(config: Config, fold: Fold) -> Iterator[None]:
    """The steps of a loop without any framework, on the same batches."""
    network, training = network_of(config), fold.training
    optimizer = build_optimizer(
        network, training.optimizer, learning_rate=training.learning_rate, weight_decay=training.weight_decay
    )
    batches = load_fold(config, Artifacts(config.root).cohort(config.cohort.name)).scans.train_dataloader()
    num_updates = STEP_EPOCHS * len(batches)
    schedule = cosine_with_warmup(optimizer, num_updates=num_updates, warmup_fraction=training.warmup_fraction)
    batch: Batch
    for _ in range(STEP_EPOCHS):
        for batch in batches:
            step(network, optimizer, batch["image"], batch["label"], training.clip_norm)
            schedule.step()
            yield
