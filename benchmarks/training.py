"""Time training steps against a plain PyTorch loop, and whole trainings against the same ones written with MONAI.

    HIPPOCAMPUS=/path/to/hippocampus python benchmarks/training.py

Takes about twenty minutes on two cores, on one fold of `hippocampus`. Steps are those of the 3D PoolFormer-S12
on the same batches: here with all that a training keeps and logs, and, before each of them, in a loop without any
framework. What W&B adds to a step is `benchmarks/tracking.py`'s figure.

Against MONAI all start at raw scans and train the same PoolFormer from the same weights, with the same optimiser
settings, schedule and strength of augmentation, once a seed. Written with MONAI it is made of torch's stock layers; a
third side borrows this pipeline's layers, so that what they bring is seen apart from the rest. Two things are compared:
the time to the end of a fixed number of epochs, and that to a fixed validation AUROC of the mean over seeds.
Prints a table and, as its last line, one JSON object.
"""

import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from lightning import Callback

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import tracking  # noqa: E402
from benchmarks.from_raw import all_from_raw, fit_here, network_of, ratios_of, seconds_of  # noqa: E402
from benchmarks.monai_experiment import step  # noqa: E402
from benchmarks.timing import Ratio, report  # noqa: E402
from pipeline.artifacts import Artifacts  # noqa: E402
from pipeline.config import Config, Plan  # noqa: E402
from pipeline.fetch import fetch  # noqa: E402
from pipeline.ingest import ingest  # noqa: E402
from pipeline.loading.dataset import Batch  # noqa: E402
from pipeline.plan import plan as make_plan  # noqa: E402
from pipeline.preprocess import preprocess  # noqa: E402
from pipeline.resolve import check_file, resolve  # noqa: E402
from pipeline.split import split  # noqa: E402
from pipeline.training.fold import Fold, load_fold  # noqa: E402
from pipeline.training.optimisation.optimisers import build_optimizer, warmup_cosine  # noqa: E402
from pipeline.training.settling.settle import settle_config  # noqa: E402

SETTINGS = ["cohort=hippocampus", "tracking.mode=none", "training.max_epochs=5"]
SETTINGS += ["cohort.split.test_fraction=0.1", "cohort.split.num_folds=3"]
"""78 scans validate: with fewer, the epoch in which an AUROC is reached is luck."""
STEP_EPOCHS = 2
"""For the comparison of steps."""


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
    schedule = warmup_cosine(optimizer, num_updates=num_updates, warmup_fraction=training.warmup_fraction)
    batch: Batch
    for _ in range(STEP_EPOCHS):
        for batch in batches:
            step(network, optimizer, batch["volume"], batch["label"], training.clip_norm)
            schedule.step()
            yield


def main() -> None:
    warnings.simplefilter("ignore")
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("pipeline.training.showing").setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(REPOSITORY)
        config = resolve("3d_poolformer", [*SETTINGS, f"root={folder}"])
        for verb in (fetch, ingest, split, make_plan, preprocess):
            verb(config)
        paths = Artifacts(config.root).cohort(config.cohort.name)
        plan = check_file(Plan, paths.plan)
        config = settle_config(config, plan)
        fold = load_fold(config, paths)
        steps = seconds_a_step(config, fold)
        trainings = all_from_raw(config, plan, fold)
    here, plain = (statistics.median(side) for side in zip(*steps, strict=True))
    overhead = Ratio("overhead_per_step", statistics.median(a / b for a, b in steps) - 1, at_most=0.05)
    added, tracked = tracking.time_tracking()
    ratios = [overhead, tracked, *ratios_of(trainings)]
    told = {"step": here, "step_plain_loop": plain, "added_by_tracking": added["added_by_tracking"]}
    report("training", told | seconds_of(trainings), ratios)


if __name__ == "__main__":
    main()
