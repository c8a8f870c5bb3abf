"""A training of a second, in this process, by the code that the command runs."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
from lightning import Callback, seed_everything

from pipeline.config import Config, Plan
from pipeline.core.paths import CohortPaths, TrainingPaths
from pipeline.data.datamodule import ScanDataModule
from pipeline.models import Network
from pipeline.store.store import Store
from pipeline.training.auto import build_network, resolve_auto
from pipeline.training.checkpoint import RunDirectory, TrainedCheckpoint
from pipeline.training.fold_data import Fold
from pipeline.training.targets import task_of, with_targets
from pipeline.training.trainer import fit

SIZE = (8, 8, 8)
MODEL = {
    "name": "poolformer_s12",
    "options": {"spatial_dims": 3, "depths": [1, 1, 1, 1], "dims": [4, 4, 8, 8], "drop_rate": 0.2, "stem_stride": 2},
}
PLAN = Plan(
    orientation="SPL",
    spacing_mm=(1, 1, 1),
    size_voxels=SIZE,
    crop="center",
    intensity={"scheme": "unchanged"},
    batch_size=2,
    accumulate=1,
    max_epochs=20,
    patience=3,
    reasons={},
)


class SmallTraining:
    """Ten scans, of which the odd ones are brighter in one half, train; four validate."""

    def __init__(self, folder: Path, labels: tuple[str, ...] = ("dark", "light"), **settings: object) -> None:
        self.folder = folder
        cohort = {"name": "blocks", "source": {"kind": "phantom"}, "modality": "other", "laterality": "relevant"}
        cohort |= settings.pop("cohort", {})
        model = MODEL | {"options": MODEL["options"] | settings.pop("options", {})}
        training = {"max_epochs": 3, "batch_size": 2, "accumulate": 1, "accelerator": "cpu"} | settings
        self.config = resolve_auto(Config(name="small", cohort=cohort, model=model, training=training), PLAN)
        self.fold = self.make_fold(labels)

    def make_fold(self, labels: tuple[str, ...]) -> Fold:
        classes = sorted({name for label in labels for name in label.split(";")} - {"none"})
        task = task_of(self.config.cohort, classes)
        training = self.config.training
        store, table = write_blocks(self.folder / "preprocessed", labels)
        rows = {"train": table[:10], "val": table[10:], "test": table[:0]}
        scans = ScanDataModule(
            store,
            train=with_targets(rows["train"], classes, task),
            val=with_targets(rows["val"], classes, task),
            batch_size=training.batch_size,
            num_workers=training.num_workers,
            balanced=training.sampling == "balanced",
        )
        return Fold(scans, rows, classes, task, PLAN, training, data_hash="blocks")

    def start(self) -> Network:
        """The untrained network."""
        seed_everything(0, verbose=False)
        return build_network(self.config.model, num_classes=len(self.fold.classes))

    def __call__(self, name: str, *callbacks: Callback) -> "Outcome":
        """Train, or go on training, the run `name`; `callbacks` watch."""
        paths = TrainingPaths(self.folder / name)
        network = self.start()
        run_directory = RunDirectory(self.config, self.fold, paths)
        cohort = CohortPaths(self.folder)
        fit(network, self.fold, self.config, run_directory=run_directory, cohort=cohort, loggers=callbacks)
        return Outcome(network, TrainedCheckpoint.read(paths.best), pd.read_csv(paths.history))


class Outcome:
    """What a training left."""

    def __init__(self, network: Network, best: TrainedCheckpoint, history: pd.DataFrame) -> None:
        self.network, self.best, self.history = network, best, history

    def is_same_as(self, other: "Outcome") -> bool:
        """To the last bit: last weights, best weights and history."""
        pairs = [(self.network.state_dict(), other.network.state_dict()), (self.best.state_dict, other.best.state_dict)]
        same_weights = all(bool((mine[name] == theirs[name]).all()) for mine, theirs in pairs for name in mine)
        return same_weights and self.history.equals(other.history)


def write_blocks(folder: Path, labels: tuple[str, ...]) -> tuple[Store, pd.DataFrame]:
    """Scans s0 to s13, each class of the k-th label a brighter k-th half of the scan."""
    store, rng = Store(folder), np.random.default_rng(0)
    table = pd.DataFrame({"scan_id": [f"s{number}" for number in range(14)]})
    table["patient_id"] = table["scan_id"]
    table["label"] = [labels[number % len(labels)] for number in range(14)]
    for scan_id, label in zip(table["scan_id"], table["label"], strict=True):
        volume = rng.normal(size=SIZE).astype(np.float32)
        for half, name in enumerate(sorted({part for one in labels for part in one.split(";")} - {"none"})[:2]):
            volume[:, half * 4 : half * 4 + 4] += 2 * (name in label.split(";"))
        store.write(scan_id, volume, np.eye(4), source_sha256="a", plan_sha256="b", code_sha256="c")
    return store, table


class SendSignal(Callback):
    """Send this process a real signal in the course of one batch."""

    def __init__(self, number: int, *, epoch: int, batch: int) -> None:
        self.number, self.place = number, (epoch, batch)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if (trainer.current_epoch, batch_idx) == self.place:
            os.kill(os.getpid(), self.number)
