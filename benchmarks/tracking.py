"""Time what tracking adds to a training step: short trainings in turn, watched and told to W&B offline, or neither.

    python benchmarks/tracking.py

What is told at a step is the same for every network, two milliseconds or so, which a step of the default experiment
would drown in its own noise. So the added seconds are taken from many short steps, and then held against one default
step. Two adjacent trainings are compared, one of each kind, and which of them goes first changes from round to round:
what else the machine does then weighs on both alike. Prints a table and, as its last line, one JSON object; about two
minutes in all.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.timing import Ratio, report  # noqa: E402
from pipeline.config import Tracking  # noqa: E402
from pipeline.core.paths import TrainingPaths  # noqa: E402
from pipeline.models import build_model  # noqa: E402
from pipeline.tracking.callbacks import StepLogger  # noqa: E402
from pipeline.tracking.payload import RunPayload  # noqa: E402
from pipeline.tracking.tracked_run import open_run  # noqa: E402
from pipeline.training.distributed import clip_gradients  # noqa: E402

DEFAULT, BATCH_SIZE = (48, 64, 64), 4
"""A step of the default experiment."""
SHORT, STEPS, ROUNDS = (16, 16, 16), 100, 12
"""Steps of a small network, in which tracking is no small part."""
PAUSE_S = 1.5
"""Longer than W&B takes to write what it has, and to start or end a run."""


class Plain(LightningModule):
    """A 3D network on noise."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__()
        self.network = build_model(name, spatial_dims=3, in_channels=1, num_classes=2, **options)

    def training_step(self, batch: Tensor, batch_index: int) -> Tensor:
        labels = torch.arange(len(batch), device=batch.device) % 2
        return nn.functional.cross_entropy(self.network(batch), labels)

    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any, gradient_clip_algorithm: Any) -> None:
        # What every training does; the log takes the norm from here.
        self.gradient_norm = float(clip_gradients(list(self.parameters()), 1.0))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


class Clock(Callback):
    """Seconds of the steps of one training; it stands last, so what others do at a step counts."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Tensor, batch_idx: int
    ) -> None:
        # What every training does: look at the loss, which waits for a GPU.
        float(outputs["loss"])
        self.marks.append(time.perf_counter())

    @property
    def seconds_a_step(self) -> float:
        """From the end of the first to the end of the last: the first one warms up."""
        return (self.marks[-1] - self.marks[0]) / (len(self.marks) - 1)


def train(module: Plain, scans: DataLoader, *watching: Callback) -> float:
    """Seconds a step."""
    clock = Clock()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_epochs=1, callbacks=[*watching, clock], enable_model_summary=False, **quiet)
    # Before, not after: what the end of the last W&B run leaves to do would slow the side that comes next.
    time.sleep(PAUSE_S)
    trainer.fit(module, scans)
    return clock.seconds_a_step


def noise(size: tuple[int, int, int], num_steps: int) -> DataLoader:
    """Batches of an epoch."""
    return DataLoader(torch.randn(BATCH_SIZE * num_steps, 1, *size), BATCH_SIZE)


@contextmanager
def watch(folder: Path) -> Iterator[StepLogger]:
    """As in every training, in a W&B run of its own; opening and ending one happens once a training."""
    parcel = RunPayload(folder.name, "name", "group", "train", (), {}, Tracking(mode="offline"))
    run = open_run(parcel, folder / "wandb", resume=False)
    yield StepLogger(TrainingPaths(folder), run, -1)
    run.finish()


def train_watched(module: Plain, scans: DataLoader) -> float:
    """Seconds a step of a training that is told to W&B."""
    with tempfile.TemporaryDirectory() as name, watch(Path(name)) as watching:
        return train(module, scans, watching)


def time_tracking() -> tuple[dict[str, float], Ratio]:
    """Seconds of a step, and of what is added to it; the added share, whose middle half shows how sure it is."""
    torch.manual_seed(0)
    small = {"depths": [1, 1, 1, 1], "dims": [16, 32, 64, 128]}
    module, short = Plain("resnet18", stem_pool=False, **small), noise(SHORT, STEPS)
    train(module, short)
    added = []
    for number in range(ROUNDS):
        order = (train, train_watched) if number % 2 else (train_watched, train)
        seconds = {side: side(module, short) for side in order}
        added.append(seconds[train_watched] - seconds[train])
    step = train(Plain("poolformer_s12"), noise(DEFAULT, 12))
    low, middle, high = statistics.quantiles(added, n=4)
    reason = f"half of {ROUNDS} rounds lie between {low / step:+.2%} and {high / step:+.2%}"
    ratio = Ratio("tracking_per_step", middle / step, at_most=0.02, reason=reason)
    return {"step": step, "added_by_tracking": middle}, ratio


def main() -> None:
    seconds, overhead = time_tracking()
    report("tracking", seconds, [overhead])


if __name__ == "__main__":
    main()
