"""Time what tracking adds to a training step: every other step is tracked, offline, in one and the same training.

    python benchmarks/tracking.py

Prints a table and, as its last line, one JSON object; about two minutes in all.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.timing import Ratio, report  # noqa: E402
from pipeline.artifacts import FoldPaths  # noqa: E402
from pipeline.config import Tracking  # noqa: E402
from pipeline.models import build_model  # noqa: E402
from pipeline.tracking.contents import Parcel  # noqa: E402
from pipeline.tracking.live import Watch  # noqa: E402
from pipeline.tracking.tracked_run import open_run  # noqa: E402
from pipeline.training.sharding import clip_gradients  # noqa: E402

SIZE, BATCH_SIZE, STEPS, WARM_UP = (64, 64, 64), 2, 80, 4


class Plain(LightningModule):
    """A 3D PoolFormer-S12 on noise."""

    def __init__(self) -> None:
        super().__init__()
        self.network = build_model("poolformer_s12", spatial_dims=3, in_channels=1, num_classes=2)

    def training_step(self, batch: Tensor, batch_index: int) -> Tensor:
        labels = torch.arange(len(batch), device=batch.device) % 2
        return nn.functional.cross_entropy(self.network(batch), labels)

    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any, gradient_clip_algorithm: Any) -> None:
        # What every training does; the log takes the norm from here.
        self.gradient_norm = float(clip_gradients(list(self.parameters()), 1.0))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


class EveryOtherStep(Watch):
    """Watches the odd steps and lets the even ones be; takes the time of both."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.seconds: dict[bool, list[float]] = {True: [], False: []}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.watched, self.started = trainer.global_step % 2 == 1, time.perf_counter()
        if self.watched:
            super().on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        if self.watched:
            super().on_before_optimizer_step(trainer, pl_module, optimizer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # What every training does: look at the loss, which waits for a GPU.
        float(outputs["loss"])
        if self.watched:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self.seconds[self.watched].append(time.perf_counter() - self.started)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """There is one epoch; its figures are not what is timed."""


def main() -> None:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parcel = Parcel("benchmark", "n", "g", "train", (), {}, Tracking(mode="offline"))
        run = open_run(parcel, folder / "wandb", goes_on=False)
        watch = EveryOtherStep(FoldPaths(folder), run, -1)
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = Trainer(max_epochs=1, callbacks=[watch], enable_model_summary=False, **quiet)
        trainer.fit(Plain(), DataLoader(torch.randn(BATCH_SIZE * STEPS, 1, *SIZE), BATCH_SIZE))
        run.finish()
    tracked, plain = (statistics.median(watch.seconds[is_on][WARM_UP:]) for is_on in (True, False))
    overhead = Ratio("tracking_per_step", tracked / plain - 1, at_most=0.02)
    report("tracking", {"step": plain, "step_tracked": tracked}, [overhead])


if __name__ == "__main__":
    main()
