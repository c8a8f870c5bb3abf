"""Train: fit one model on one fold.

Reads   preprocessed scans, splits.csv, plan.yaml, ingest.json
Writes  runs/<cohort>/<experiment>/fold-<k>/{best.ckpt, last.ckpt, config.yaml, history.csv}
"""

from pipeline import stage
from pipeline.artifacts import Artifacts
from pipeline.config import Config


def train(config: Config) -> None:
    """Fit one model on one fold, keeping its best checkpoint; a killed training goes on where it stopped."""
    from lightning import seed_everything

    from pipeline.reporting.tracking import live_logger
    from pipeline.training.build import build_network
    from pipeline.training.fitting import fit
    from pipeline.training.fold import load_fold
    from pipeline.training.keeping import Keeping
    from pipeline.training.settle import settle_config
    from pipeline.training.trainer import describe_run

    paths = Artifacts(config.root)
    cohort = paths.cohort(config.cohort.name)
    seed_everything(config.seed, workers=True, verbose=False)
    fold = load_fold(config, cohort)
    config = settle_config(config, fold.plan)
    network = build_network(config.model, num_classes=len(fold.classes))
    keeping = Keeping(config, fold, paths.run(config.cohort.name, config.name).fold(config.fold))
    describe_run(config, fold, network)
    with live_logger(config, run_id=keeping.key) as logger:
        fit(network, fold, config, keeping=keeping, cohort=cohort, logger=logger)


if __name__ == "__main__":
    stage.run(train)
