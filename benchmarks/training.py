"""Time training steps against a plain PyTorch loop, and a whole training against the same one written with MONAI.

    HIPPOCAMPUS=/path/to/hippocampus python benchmarks/training.py

Takes about eight minutes on two cores. Both sides train the same 3D PoolFormer-S12, this pipeline's, from the same
weights on the same fold of `hippocampus` in batches of the same size, with the same optimiser settings and schedule,
once a seed. Against MONAI two things are compared: the time from raw scans to the end of a fixed number of epochs, and
that to the first epoch with a fixed validation AUROC, where both sides get there; of 40 validation scans that epoch is
half luck, so the first ratio says more. Prints a table and, as its last line, one JSON object.
"""

import logging
import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from lightning import Callback, seed_everything
from torch import nn

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.monai_experiment import Epochs, step, train_with_monai  # noqa: E402
from benchmarks.timing import Ratio, report  # noqa: E402
from pipeline.artifacts import Artifacts  # noqa: E402
from pipeline.cohorts.cohort_table import read_cohort  # noqa: E402
from pipeline.columns import SCAN_ID  # noqa: E402
from pipeline.config import Config, Plan  # noqa: E402
from pipeline.fetch import fetch  # noqa: E402
from pipeline.ingest import ingest  # noqa: E402
from pipeline.loading.dataset import Batch  # noqa: E402
from pipeline.plan import plan as make_plan  # noqa: E402
from pipeline.preprocess import preprocess  # noqa: E402
from pipeline.resolve import check_file, resolve  # noqa: E402
from pipeline.split import split  # noqa: E402
from pipeline.tracking.watching import watch_training  # noqa: E402
from pipeline.training.fitting import fit  # noqa: E402
from pipeline.training.fold import Fold, load_fold  # noqa: E402
from pipeline.training.keeping.keeping import Keeping  # noqa: E402
from pipeline.training.optimisation.optimisers import build_optimizer, warmup_cosine  # noqa: E402
from pipeline.training.settling.build import build_network  # noqa: E402
from pipeline.training.settling.settle import settle_config  # noqa: E402

log = logging.getLogger("pipeline.training.showing")
"""Where the pipeline's own epochs are told."""
TARGET_AUROC = 0.7
STEPS, ROUNDS = 16, 5
SEEDS = (0, 1, 2)
SETTINGS = ["cohort=hippocampus", "tracking.mode=none", "training.max_epochs=4"]


def network_of(config: Config) -> nn.Module:
    """The network with the same first weights each time that the seed is the same."""
    seed_everything(config.seed, verbose=False)
    return build_network(config.model, num_classes=2)


class Watch(Callback):
    """When each batch began; after each epoch, when it ended and its validation AUROC."""

    def __init__(self) -> None:
        self.started: list[float] = []
        self.epochs: Epochs = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.started.append(time.perf_counter())

    def on_validation_end(self, trainer, pl_module) -> None:
        self.epochs.append((time.perf_counter(), float(trainer.callback_metrics["val_auroc"])))


def fit_here(config: Config, fold: Fold, name: str) -> Watch:
    """A training with all that goes with it: checkpoints, history, the log of steps, validation."""
    watch, paths = Watch(), Artifacts(config.root)
    keeping = Keeping(config, fold, paths.run(config.cohort.name, name).fold(config.fold))
    with watch_training(config, keeping):
        keeping.callbacks.append(watch)
        fit(network_of(config), fold, config, keeping=keeping, cohort=paths.cohort(config.cohort.name))
    # Lightning leaves it on, which would slow what is timed next.
    torch.use_deterministic_algorithms(False)
    return watch


def few_scans(config: Config, fold: Fold) -> Fold:
    """The fold cut down to `STEPS` steps an epoch, in one epoch."""
    training = fold.training.model_copy(update={"max_epochs": 1})
    scans = load_fold(config, Artifacts(config.root).cohort(config.cohort.name)).scans
    scans.sampler.num_scans = STEPS * training.batch_size
    return replace(fold, scans=scans, training=training)


def seconds_a_step(config: Config, fold: Fold) -> list[tuple[float, float]]:
    """From one batch to the next in the pipeline's training and in a plain loop, by turns, once a round."""
    rounds = []
    for number in range(ROUNDS):
        watch = fit_here(config, few_scans(config, fold), f"round-{number}")
        plain = plain_loop(config, few_scans(config, fold))
        rounds.append((median_interval(watch.started), median_interval(plain)))
    log.info("seconds a step, here and in a plain loop: %s", rounds)
    return rounds


def median_interval(moments: list[float]) -> float:
    """Seconds between moments, without the first few, which set up memory."""
    return statistics.median(later - earlier for earlier, later in zip(moments[2:], moments[3:], strict=False))


def plain_loop(config: Config, fold: Fold) -> list[float]:
    """The moments at which batches begin in a loop without any framework, on the same batches."""
    network, training, started = network_of(config), fold.training, []
    optimizer = build_optimizer(
        network, training.optimizer, learning_rate=training.learning_rate, weight_decay=training.weight_decay
    )
    schedule = warmup_cosine(optimizer, num_updates=STEPS, warmup_fraction=training.warmup_fraction)
    batch: Batch
    for batch in fold.scans.train_dataloader():
        started.append(time.perf_counter())
        step(network, optimizer, batch["volume"], batch["label"], training.clip_norm)
        schedule.step()
    return started


def train_from_raw(config: Config) -> Epochs:
    """The epochs of the pipeline, preprocessing included; seconds count from the raw scans on."""
    paths = Artifacts(config.root).cohort(config.cohort.name)
    shutil.rmtree(paths.preprocessed)
    start = time.perf_counter()
    preprocess(config)
    epochs = fit_here(config, load_fold(config, paths), f"timed-{config.seed}").epochs
    return [(moment - start, auroc) for moment, auroc in epochs]


def both_from_raw(config: Config, plan: Plan, fold: Fold) -> list[tuple[Epochs, Epochs]]:
    """The pipeline's epochs and MONAI's, by turns, for each seed."""
    paths, pairs = Artifacts(config.root).cohort(config.cohort.name), []
    rows = rows_with_paths(fold, read_cohort(paths.cohort))
    for seed in SEEDS:
        seeded = config.model_copy(update={"seed": seed})
        ours = train_from_raw(seeded)
        pairs.append((ours, train_with_monai(network_of(seeded), plan, fold.training, rows, paths.raw, seed)))
    return pairs


def seconds_to_target(epochs: Epochs) -> float | None:
    """None where no epoch gets there."""
    return next((seconds for seconds, auroc in epochs if auroc >= TARGET_AUROC), None)


def compare_to_target(pairs: list[tuple[Epochs, Epochs]]) -> Ratio:
    """Median over the seeds with which both sides reach the target."""
    reached = [(seconds_to_target(ours), seconds_to_target(theirs)) for ours, theirs in pairs]
    ratios = [theirs / ours for ours, theirs in reached if ours is not None and theirs is not None]
    sides = [sum(seconds is not None for seconds in side) for side in zip(*reached, strict=True)]
    reason = f"AUROC {TARGET_AUROC} was reached with {sides[0]} of {len(pairs)} seeds here, {sides[1]} with MONAI"
    return Ratio("time_to_auroc_vs_monai", statistics.median(ratios) if ratios else None, at_least=1.5, reason=reason)


def rows_with_paths(fold: Fold, cohort: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The scans of train and val with their paths, labels as indices."""
    paths = cohort.set_index(SCAN_ID)["path"]
    return {
        side: fold.scans.tables[side].assign(path=lambda table: table[SCAN_ID].map(paths)) for side in ("train", "val")
    }


def main() -> None:
    warnings.simplefilter("ignore")
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("pipeline.training.showing").setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(REPOSITORY)
        config = resolve("3d_poolformer", [*SETTINGS, f"root={folder}"])
        for verb in (fetch, ingest, split, make_plan):
            verb(config)
        paths = Artifacts(config.root).cohort(config.cohort.name)
        preprocess(config)
        plan = check_file(Plan, paths.plan)
        config = settle_config(config, plan)
        fold = load_fold(config, paths)
        rounds = seconds_a_step(config, fold)
        pairs = both_from_raw(config, plan, fold)
    here, plain = (statistics.median(side) for side in zip(*rounds, strict=True))
    seconds = {"step": here, "step_plain_loop": plain}
    # Of each round, for a machine is not equally fast all the time.
    overhead = statistics.median(here / plain for here, plain in rounds) - 1
    whole = [(ours[-1][0], theirs[-1][0]) for ours, theirs in pairs]
    for name, taken in zip(("pipeline", "MONAI"), zip(*whole, strict=True), strict=True):
        seconds[f"{fold.training.max_epochs} epochs from raw, {name}"] = statistics.median(taken)
    ratios = [
        Ratio("overhead_per_step", overhead, at_most=0.05),
        Ratio("epochs_vs_monai", statistics.median(theirs / ours for ours, theirs in whole), at_least=1.5),
        compare_to_target(pairs),
    ]
    report("training", seconds, ratios)


if __name__ == "__main__":
    main()
