"""Whole trainings from raw scans on, by this pipeline and as written with MONAI, for `benchmarks/training.py`."""

import shutil
import statistics
import time

import pandas as pd
import torch
from lightning import Callback, seed_everything
from torch import nn

from benchmarks.monai_experiment import Epochs, train_with_monai
from benchmarks.timing import Ratio
from pipeline.artifacts import Artifacts
from pipeline.cohorts.cohort_table import read_cohort
from pipeline.columns import SCAN_ID
from pipeline.config import Config, Plan
from pipeline.preprocess import preprocess
from pipeline.tracking.watching import watch_training
from pipeline.training.fitting import fit
from pipeline.training.fold import Fold, load_fold
from pipeline.training.keeping.keeping import Keeping
from pipeline.training.settling.build import build_network

TARGET_AUROC = 0.7
SEEDS = (0, 1, 2)


class Watch(Callback):
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
    watch, paths = Watch(), Artifacts(config.root)
    keeping = Keeping(config, fold, paths.run(config.cohort.name, name).fold(config.fold))
    with watch_training(config, keeping):
        keeping.callbacks += [watch, *beside]
        fit(network_of(config), fold, config, keeping=keeping, cohort=paths.cohort(config.cohort.name))
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


def of_target(pairs: list[tuple[Epochs, Epochs]]) -> Ratio:
    """Median over the seeds with which both sides reach the target."""
    reached = [(seconds_to_target(ours), seconds_to_target(theirs)) for ours, theirs in pairs]
    ratios = [theirs / ours for ours, theirs in reached if ours is not None and theirs is not None]
    sides = [sum(seconds is not None for seconds in side) for side in zip(*reached, strict=True)]
    reason = f"AUROC {TARGET_AUROC} was reached with {sides[0]} of {len(pairs)} seeds here, {sides[1]} with MONAI"
    return Ratio("time_to_auroc_vs_monai", statistics.median(ratios) if ratios else None, at_least=1.5, reason=reason)


def of_all_epochs(pairs: list[tuple[Epochs, Epochs]]) -> tuple[dict[str, float], Ratio]:
    """Median seconds of whole trainings on both sides, and their ratio."""
    whole = [(ours[-1][0], theirs[-1][0]) for ours, theirs in pairs]
    ours, theirs = (statistics.median(side) for side in zip(*whole, strict=True))
    ratio = Ratio("epochs_vs_monai", statistics.median(theirs / ours for ours, theirs in whole))
    return {"all epochs from raw, pipeline": ours, "all epochs from raw, MONAI": theirs}, ratio
