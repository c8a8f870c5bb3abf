"""Train: fit one model on one fold.

Reads   preprocessed scans, splits.csv, plan.yaml, ingest.json
Writes  runs/<cohort>/<experiment>/fold-<k>/{best.ckpt, last.ckpt, config.yaml, history.csv, steps.csv,
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
    """Fit one model on one fold, keeping its best checkpoint; a killed training goes on where it stopped."""
    from lightning import seed_everything

    from pipeline.tracking.callbacks import watch_training
    from pipeline.training.auto import build_network, settle_config, settle_norm
    from pipeline.training.checkpoint import Keeping
    from pipeline.training.distributed import let_first_process_talk
    from pipeline.training.fold_data import load_fold
    from pipeline.training.sanity_checks import run_check
    from pipeline.training.summary import describe_run
    from pipeline.training.trainer import fit

    let_first_process_talk()
    paths = Artifacts(config.root)
    cohort = paths.cohort(config.cohort.name)
    config = settle_config(config, check_file(Plan, cohort.plan))
    fold = load_fold(config, cohort)
    model = settle_norm(config.model, config.training, fold.plan, num_classes=len(fold.classes))
    config = config.model_copy(update={"model": model})
    seed_everything(config.fold_seed, workers=True, verbose=False)
    network = build_network(config.model, num_classes=len(fold.classes), in_channels=fold.plan.in_channels)
    if check is not None:
        run_check(check, network, fold, config)
        return
    keeping = Keeping(config, fold, paths.run(config.cohort.name, config.name).fold(config.fold))
    describe_run(config, fold, network)
    with watch_training(config, keeping):
        fit(network, fold, config, keeping=keeping, cohort=cohort)


if __name__ == "__main__":
    cli.run(train)
