"""Train: fit one model on one fold with one seed.

Reads   preprocessed scans, splits.csv, plan.yaml, ingest.json
Writes  runs/<cohort>/<experiment>/fold-<k>-seed-<s>/{best.ckpt, last.ckpt, config.yaml, history.csv, steps.csv,
        best.json, tracking.json}
"""

import logging
from typing import TYPE_CHECKING, Annotated, Literal

from pipeline.config import Config, Plan
from pipeline.config.load import load_yaml
from pipeline.core import cli
from pipeline.core.paths import Artifacts

if TYPE_CHECKING:
    from pipeline.models import Network
    from pipeline.training.fold_data import Fold

log = logging.getLogger(__name__)


def train(config: Config) -> None:
    """Fit one model on one fold and save its best checkpoint; a killed training resumes where it stopped."""
    from pipeline.core.parallel import warn_if_oversubscribed
    from pipeline.tracking.callbacks import track_training
    from pipeline.training.checkpoint import RunDirectory
    from pipeline.training.cost_estimate import log_summary
    from pipeline.training.trainer import fit

    paths = Artifacts(config.root)
    config, fold, network = prepare(config)
    run_directory = RunDirectory(config, fold, paths.run(config.cohort.name, config.name).training(config.training_key))
    warn_if_oversubscribed("train")
    log_summary(config, fold, network)
    with track_training(config, run_directory) as loggers:
        cohort = paths.cohort(config.cohort.name)
        fit(network, fold, config, run_directory=run_directory, cohort=cohort, loggers=loggers)
    log.info("train: best checkpoint in %s", run_directory.paths.best)


def check_training(
    config: Config,
    check: Annotated[
        Literal["overfit_batch", "lr_finder"],
        "overfit_batch: can the network learn one batch? lr_finder: at which learning rates does the loss fall?",
    ],
) -> None:
    """Check before a long training, and write nothing; the exit code is 1 if the check fails."""
    from pipeline.training.sanity_checks import run_sanity_check

    config, fold, network = prepare(config)
    run_sanity_check(check, network, fold, config)


def prepare(config: Config) -> "tuple[Config, Fold, Network]":
    """The config without `auto`, the data of its fold, and its network with seeded initial weights."""
    from lightning import seed_everything

    from pipeline.training.auto import build_network, resolve_auto, resolve_norm
    from pipeline.training.distributed import silence_other_ranks
    from pipeline.training.fold_data import load_fold

    silence_other_ranks()
    cohort = Artifacts(config.root).cohort(config.cohort.name)
    config = resolve_auto(config, load_yaml(Plan, cohort.plan))
    fold = load_fold(config, cohort)
    model = resolve_norm(config.model, config.training, fold.plan, num_classes=len(fold.classes))
    config = config.model_copy(update={"model": model})
    seed_everything(config.seed, workers=True, verbose=False)
    network = build_network(config.model, num_classes=len(fold.classes), in_channels=fold.plan.in_channels)
    return config, fold, network


if __name__ == "__main__":
    cli.run(train, check=check_training)
