"""Quantize: write the checkpoint of one training with int8 weights, and the cost on its validation scans.

Reads   runs/<cohort>/<experiment>/fold-<k>-seed-<s>/best.ckpt, preprocessed scans, splits.csv, ingest.json
Writes  runs/<cohort>/<experiment>/fold-<k>-seed-<s>/{best.int8.ckpt, quantized.json}
"""

from pipeline.config import Config
from pipeline.core import cli
from pipeline.core.paths import Artifacts


def quantize(config: Config) -> None:
    """Write a checkpoint of a quarter of the size, which predicts like any other, and how its predictions differ."""
    from pipeline.core.io import write_json
    from pipeline.evaluation.settings import Settings
    from pipeline.inference.fold_predictions import predict_validation
    from pipeline.inference.predictor import Predictor, check_compatible
    from pipeline.inference.quantize import log_cost, quantization_cost, write_int8

    paths, key = Artifacts(config.root), config.training_key
    training, cohort = paths.run(config.cohort.name, config.name).training(key), paths.cohort(config.cohort.name)
    original = Predictor.load(training.best)
    check_compatible(original, config, cohort, key)
    write_int8(original, training.int8)
    tables = [predict_validation(trained, cohort, key) for trained in (original, Predictor.load(training.int8))]
    cost = quantization_cost(*tables, Settings(task=config.cohort.task, **config.evaluation.model_dump()))
    cost |= {"bytes": {"float32": training.best.stat().st_size, "int8": training.int8.stat().st_size}}
    write_json(training.quantized, cost)
    log_cost(cost, training.int8)


if __name__ == "__main__":
    cli.run(quantize)
