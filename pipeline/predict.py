"""Predict: class probabilities and stage embeddings of one fold, or of any new scans.

Reads   runs/<cohort>/<experiment>/fold-<k>-seed-<s>/best.ckpt, preprocessed scans, splits.csv, ingest.json
Writes  runs/<cohort>/<experiment>/{predictions/, embeddings/}fold-<k>-seed-<s>.*
"""

from pathlib import Path
from typing import Annotated

from pipeline.config import Config
from pipeline.core import cli
from pipeline.core.paths import Artifacts


def predict(config: Config) -> None:
    """Predict validation and test scans of one fold, and prove that raw scans give the same."""
    from pipeline.imaging.extra_transforms import own_names
    from pipeline.inference.fold_predictions import predict_fold
    from pipeline.inference.predictor import Predictor, check_compatible

    paths = Artifacts(config.root)
    run, cohort = paths.run(config.cohort.name, config.name), paths.cohort(config.cohort.name)
    own = own_names(config.cohort.preprocess.extra)
    trained = Predictor.load(run.training(config.training_key).best, own_transforms=own)
    check_compatible(trained, config, cohort, config.training_key)
    predict_fold(trained, cohort, run, config.training_key)


def predict_scans(
    scans: Annotated[list[Path], "scans, folders of scans, or a table with the training table's columns of files"],
    *,
    run: Annotated[Path, "runs/<cohort>/<experiment> for the mean of its trainings, or one training in it"],
    out: Annotated[Path, "table to write"] = Path("predictions.csv"),
    own_transforms: Annotated[
        list[str] | None, "module.path.Class of preprocessing transforms of your own that the run names and you trust"
    ] = None,
) -> None:
    """Predict new scans from their raw files with one training, or with the mean of all trainings, each calibrated."""
    from pipeline.inference.new_scans import predict_files
    from pipeline.inference.trained_run import load_classifier

    predict_files(load_classifier(run, own_transforms=frozenset(own_transforms or ())), scans, out)


if __name__ == "__main__":
    cli.run(predict, scans=predict_scans)
