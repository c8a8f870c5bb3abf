"""Time training steps against a plain PyTorch loop, and a whole training against the same one written with MONAI.

    HIPPOCAMPUS=/path/to/hippocampus python benchmarks/training.py

Both sides train the same 3D PoolFormer-S12 from the same weights on the same fold of `hippocampus`, with the same
optimiser and schedule. Prints a table and, as its last line, one JSON object; about five minutes on two cores.
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
from lightning import Callback, seed_everything
from torch import nn

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.monai_experiment import seconds_to_auroc, step  # noqa: E402
from benchmarks.timing import Ratio, report  # noqa: E402
from pipeline.artifacts import SCAN_ID, Artifacts  # noqa: E402
from pipeline.cohorts.cohort_table import read_cohort  # noqa: E402
from pipeline.config import Config, Plan  # noqa: E402
from pipeline.fetch import fetch  # noqa: E402
from pipeline.ingest import ingest  # noqa: E402
from pipeline.loading.dataset import Batch  # noqa: E402
from pipeline.plan import plan as make_plan  # noqa: E402
from pipeline.preprocess import preprocess  # noqa: E402
from pipeline.resolve import check_file, resolve  # noqa: E402
from pipeline.split import split  # noqa: E402
from pipeline.training.fitting import fit  # noqa: E402
from pipeline.training.fold import Fold, load_fold  # noqa: E402
from pipeline.training.keeping.keeping import Keeping  # noqa: E402
from pipeline.training.optimisation.optimisers import build_optimizer, warmup_cosine  # noqa: E402
from pipeline.training.settling.build import build_network  # noqa: E402
from pipeline.training.settling.settle import settle_config  # noqa: E402

log = logging.getLogger("pipeline.training.showing")
"""Where the pipeline's own epochs are told."""
TARGET_AUROC = 0.7
STEPS, ROUNDS = 16, 3
SETTINGS = ["cohort=hippocampus", "tracking.mode=none", "training.max_epochs=12"]


def network_of(config: Config) -> nn.Module:
    """The network with the same first weights each time."""
    seed_everything(config.seed, verbose=False)
    return build_network(config.model, num_classes=2)


class Watch(Callback):
    """When each batch began, and when validation first reached the target."""

    def __init__(self) -> None:
        self.started: list[float] = []
        self.reached: tuple[float, int] | None = None

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.started.append(time.perf_counter())

    def on_validation_end(self, trainer, pl_module) -> None:
        if self.reached is None and float(trainer.callback_metrics["val_auroc"]) >= TARGET_AUROC:
            self.reached = time.perf_counter(), trainer.current_epoch + 1
            trainer.should_stop = True


def fit_here(config: Config, fold: Fold, name: str) -> Watch:
    """A training with all that goes with it: checkpoints, history, validation."""
    watch, paths = Watch(), Artifacts(config.root)
    keeping = Keeping(config, fold, paths.run(config.cohort.name, name).fold(config.fold))
    keeping.callbacks.append(watch)
    cohort = paths.cohort(config.cohort.name)
    fit(network_of(config), fold, config, keeping=keeping, cohort=cohort)
    return watch


def few_scans(config: Config, fold: Fold) -> Fold:
    """The fold cut down to `STEPS` steps an epoch, in one epoch."""
    training = fold.training.model_copy(update={"max_epochs": 1})
    scans = load_fold(config, Artifacts(config.root).cohort(config.cohort.name)).scans
    scans.sampler.num_scans = STEPS * training.batch_size
    return replace(fold, scans=scans, training=training)


def seconds_a_step(config: Config, fold: Fold) -> dict[str, float]:
    """Median seconds from one batch to the next, by turns in the pipeline's training and in a plain loop."""
    intervals: dict[str, list[float]] = {"step": [], "step_plain_loop": []}
    for round_ in range(ROUNDS):
        started = fit_here(config, few_scans(config, fold), f"round-{round_}").started
        intervals["step"] += differences(started)
        intervals["step_plain_loop"] += differences(plain_loop(config, few_scans(config, fold)))
    medians = {name: statistics.median(values) for name, values in intervals.items()}
    log.info("seconds a step: %s", medians)
    return medians


def differences(moments: list[float]) -> list[float]:
    """Seconds between moments, without the first few, which set up memory."""
    return [later - earlier for earlier, later in zip(moments[2:], moments[3:], strict=False)]


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


def seconds_from_raw(config: Config) -> tuple[float, int]:
    """Seconds and epochs of the pipeline from raw scans to the target."""
    start = time.perf_counter()
    preprocess(config)
    fold = load_fold(config, Artifacts(config.root).cohort(config.cohort.name))
    watch = fit_here(config, fold, "timed")
    if watch.reached is None:
        raise RuntimeError(f"the pipeline: no epoch reached a validation AUROC of {TARGET_AUROC}")
    return watch.reached[0] - start, watch.reached[1]


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
        seconds = seconds_a_step(config, fold)
        shutil.rmtree(paths.preprocessed)
        ours, our_epochs = seconds_from_raw(config)
        rows = rows_with_paths(fold, read_cohort(paths.cohort))
        theirs, their_epochs = seconds_to_auroc(network_of(config), plan, fold.training, rows, paths.raw, TARGET_AUROC)
    overhead = seconds["step"] / seconds["step_plain_loop"] - 1
    seconds |= {f"to AUROC {TARGET_AUROC} ({our_epochs} epochs)": ours}
    seconds |= {f"to AUROC {TARGET_AUROC}, MONAI ({their_epochs} epochs)": theirs}
    ratios = [
        Ratio("overhead_per_step", overhead, at_most=0.05),
        Ratio("time_to_auroc_vs_monai", theirs / ours, at_least=1.5),
        Ratio("epoch_vs_monai", theirs / their_epochs / (ours / our_epochs)),
    ]
    report("training", seconds, ratios)


if __name__ == "__main__":
    main()
