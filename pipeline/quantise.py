"""Quantise: one trained fold with weights in eight bits, and what that costs on its validation scans.

Reads   runs/<cohort>/<experiment>/fold-<k>-seed-<s>/best.ckpt, preprocessed scans, splits.csv, ingest.json
Writes  runs/<cohort>/<experiment>/fold-<k>-seed-<s>/{best.int8.ckpt, quantised.json}
"""

from pipeline.config import Config, cli
from pipeline.core.paths import Artifacts


def quantise(config: Config) -> None:
    """Write a checkpoint a quarter as large, which predicts like any other, and how its predictions differ."""
    from pipeline.core.io import write_json
    from pipeline.evaluation.settings import Settings
    from pipeline.inference.predictor import Predictor, check_compatible
    from pipeline.inference.quantize import cost_of_rounding, predict_validation, say_cost, write_int8

    paths = Artifacts(config.root)
    fold, cohort = paths.run(config.cohort.name, config.name).training(config.training_key), paths.cohort(config.cohort.name)
    whole = Predictor.load(fold.best)
    check_compatible(whole, config.model, cohort, config.fold)
    write_int8(whole, fold.int8)
    tables = [predict_validation(trained, cohort, config.training_key) for trained in (whole, Predictor.load(fold.int8))]
    cost = cost_of_rounding(*tables, Settings(task=config.cohort.task, **config.evaluation.model_dump()))
    cost |= {"bytes": {"float32": fold.best.stat().st_size, "int8": fold.int8.stat().st_size}}
    write_json(fold.quantised, cost)
    say_cost(cost, fold.int8)


if __name__ == "__main__":
    cli.run(quantise)
