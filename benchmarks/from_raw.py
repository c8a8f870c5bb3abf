"""Whole trainings from raw scans on, by this pipeline and as written with MONAI, for `benchmarks/training.py`."""

import shutil
import time

import numpy as np
import pandas as pd
import torch
from lightning import Callback, seed_everything
from torch import nn

from benchmarks.models import with_stock_layers
from benchmarks.monai_experiment import Epochs, train_with_monai
from benchmarks.timing import Ratio
from pipeline.cohorts.label_table import read_cohort
from pipeline.config import Config, Plan
from pipeline.core.columns import SCAN_ID
from pipeline.core.paths import Artifacts
from pipeline.preprocess import preprocess
from pipeline.tracking.callbacks import track_training
from pipeline.training.auto import build_network
from pipeline.training.checkpoint import RunDirectory
from pipeline.training.fold_data import Fold, load_fold
from pipeline.training.trainer import fit

TARGET_AUROC = 0.7
SEEDS = (0, 1, 2, 3, 4)
HERE, STOCK, BORROWED = "pipeline", "MONAI, stock layers", "MONAI, layers of this pipeline"
Trainings = dict[str, list[Epochs]]
"""The epochs of each side, a training a seed."""


class StepLogger(Callback):
    """After each epoch, when it ended and its validation AUROC."""

    def __init__(self) -> None:
        self.epochs: Epochs = []

    def on_validation_end(self, trainer, pl_module) -> None:
        self.epochs.append((time.perf_counter(), float(trainer.callback_metrics["val_auroc"])))


def network_of(config: Config) -> nn.Module:
    """The network with the same first weights each time that the seed is the same."""
    seed_everything(config.seed, verbose=False)
    return build_network(config.model, num_classes=2)


def fit_here(config: Config, fold: Fold, name: str, *beside: Callback) -> Epochs:
    """A training with all that goes with it: checkpoints, history, the log of steps, validation."""
    watch, paths = StepLogger(), Artifacts(config.root)
    run_directory = RunDirectory(config, fold, paths.run(config.cohort.name, name).training(config.training_key))
    with track_training(config, run_directory) as loggers:
        loggers = [*loggers, watch, *beside]
        cohort = paths.cohort(config.cohort.name)
        fit(network_of(config), fold, config, run_directory=run_directory, cohort=cohort, loggers=loggers)
    # Lightning leaves it on, which would slow what is timed next.
    torch.use_deterministic_algorithms(False)
    return watch.epochs


def train_from_raw(config: Config) -> Epochs:
    """The epochs of the pipeline, preprocessing included; seconds count from the raw scans on."""
    paths = Artifacts(config.root).cohort(config.cohort.name)
    shutil.rmtree(paths.preprocessed)
    start = time.perf_counter()
    preprocess(config)
    epochs = fit_here(config, load_fold(config, paths), f"timed-{config.seed}")
    return [(moment - start, auroc) for moment, auroc in epochs]


def rows_with_paths(fold: Fold, cohort: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The scans of train and val with their paths, labels as indices."""
    paths = cohort.set_index(SCAN_ID)["path"]
    return {
        side: fold.scans.tables[side].assign(path=lambda table: table[SCAN_ID].map(paths)) for side in ("train", "val")
    }


def all_from_raw(config: Config, plan: Plan, fold: Fold) -> Trainings:
    """The trainings of the three sides, by turns, for each seed."""
    paths = Artifacts(config.root).cohort(config.cohort.name)
    rows = rows_with_paths(fold, read_cohort(paths.cohort))
    trainings: Trainings = {HERE: [], STOCK: [], BORROWED: []}
    for seed in SEEDS:
        seeded = config.model_copy(update={"seed": seed})
        trainings[HERE].append(train_from_raw(seeded))
        for side, change in ((STOCK, with_stock_layers), (BORROWED, lambda network: network)):
            network = change(network_of(seeded))
            kept = paths.folder / "best_of_monai.pt"
            trainings[side].append(train_with_monai(network, plan, fold.training, rows, paths.raw, seed, kept))
    return trainings


def mean_course(trainings: list[Epochs]) -> tuple[np.ndarray, np.ndarray]:
    """Seconds and AUROC after each epoch, means over the seeds."""
    return tuple(np.mean(trainings, axis=0).T)


def seconds_to_target(trainings: list[Epochs]) -> float | None:
    """Where the mean course, straight between epochs, comes to the target; None where it never does."""
    seconds, aurocs = mean_course(trainings)
    there = np.flatnonzero(aurocs >= TARGET_AUROC)
    if not len(there):
        return None
    until = there[0] + 1
    return float(np.interp(TARGET_AUROC, aurocs[max(0, until - 2) : until], seconds[max(0, until - 2) : until]))


def mean_wait(trainings: list[Epochs]) -> float | None:
    """Mean over the seeds of the seconds until an epoch ends at the target or above; None where one never does."""
    waits = [next((seconds for seconds, auroc in epochs if auroc >= TARGET_AUROC), None) for epochs in trainings]
    return None if None in waits else float(np.mean(waits))


def ratio_to(name: str, theirs: float | None, ours: float | None, **bar: float | None) -> Ratio:
    """Of seconds to the target, undefined where a side never came there."""
    if theirs is None or ours is None:
        return Ratio(name, None, reason=f"AUROC {TARGET_AUROC} was not reached", **bar)
    return Ratio(name, theirs / ours, **bar)


def ratios_of(trainings: Trainings) -> list[Ratio]:
    """Of each MONAI side's seconds over the pipeline's: to the end of all epochs, to the target by the mean course, and
    to the target as each training came there by itself."""
    found = []
    for side, name in ((STOCK, "monai"), (BORROWED, "monai_with_these_layers")):
        bar = {"at_least": 1.5} if side == STOCK else {}
        both = trainings[side], trainings[HERE]
        ends = [mean_course(each)[0][-1] for each in both]
        found += [
            Ratio(f"epochs_vs_{name}", ends[0] / ends[1]),
            ratio_to(f"time_to_auroc_vs_{name}", *map(seconds_to_target, both), **bar),
            ratio_to(f"mean_wait_for_auroc_vs_{name}", *map(mean_wait, both)),
        ]
    return found


def seconds_of(trainings: Trainings) -> dict[str, float]:
    """Whole trainings, from raw scans on."""
    return {f"all epochs from raw, {side}": mean_course(trainings[side])[0][-1] for side in trainings}
