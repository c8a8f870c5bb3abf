"""Train: fit one model on one fold with one seed.

Reads   preprocessed scans, splits.csv, plan.yaml, ingest.json
Writes  runs/<cohort>/<experiment>/fold-<k>-seed-<s>/{best.ckpt, last.ckpt, config.yaml, history.csv, steps.csv,
        best.json, tracking.json}
"""

from typing import Annotated

from pipeline.config import Config, Plan, cli
from pipeline.config.load import check_file
from pipeline.core.paths import Artifacts


def train(
    config: Config,
    *,
    check: Annotated[str | None, "overfit: can it learn one batch by heart? rate: which learning rates work?"] = None,
) -> None:
    """Fit one model on one fold and save its best checkpoint; a killed training resumes where it stopped."""
    from lightning import seed_everything

    from pipeline.tracking.callbacks import watch_training
    from pipeline.training.auto import build_network, resolve_auto, resolve_norm
    from pipeline.training.checkpoint import RunDirectory
    from pipeline.training.distributed import silence_other_ranks
    from pipeline.training.fold_data import load_fold
    from pipeline.training.sanity_checks import run_check
    from pipeline.training.summary import describe_run
    from pipeline.training.trainer import fit

    silence_other_ranks()
    paths = Artifacts(config.root)
    cohort = paths.cohort(config.cohort.name)
    config = resolve_auto(config, check_file(Plan, cohort.plan))
    fold = load_fold(config, cohort)
    model = resolve_norm(config.model, config.training, fold.plan, num_classes=len(fold.classes))
    config = config.model_copy(update={"model": model})
    seed_everything(config.seed, workers=True, verbose=False)
    network = build_network(config.model, num_classes=len(fold.classes), in_channels=fold.plan.in_channels)
    if check is not None:
        run_check(check, network, fold, config)
        return
    run_directory = RunDirectory(config, fold, paths.run(config.cohort.name, config.name).training(config.training_key))
    describe_run(config, fold, network)
    with watch_training(config, run_directory) as loggers:
        fit(network, fold, config, run_directory=run_directory, cohort=cohort, loggers=loggers)


if __name__ == "__main__":
    cli.run(train)
