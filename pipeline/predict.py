"""Predict: class probabilities and stage embeddings of one fold, or of any new scans.

Reads   runs/<cohort>/<experiment>/fold-<k>-seed-<s>/best.ckpt, preprocessed scans, splits.csv, ingest.json
Writes  runs/<cohort>/<experiment>/{predictions/, embeddings/, guards/}fold-<k>-seed-<s>.*
"""

from pathlib import Path
from typing import Annotated, Literal

from pipeline.config import Config
from pipeline.core import cli
from pipeline.core.paths import Artifacts
from pipeline.core.progress import log_to_file


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
    out: Annotated[Path, "table to write, .csv or .jsonl; its log is beside it"] = Path("predictions.csv"),
    workers: Annotated[int, "processes that read and preprocess scans ahead (default: none)"] = 1,
    on_refused: Annotated[
        Literal["keep", "drop", "stop"],
        "what becomes of scans that the input guard refuses: predicted all the same, listed without probabilities, or "
        "the end (default: keep)",
    ] = "keep",
    explain: Annotated[bool, "write a map of the evidence on each scan's own grid, in a folder beside it"] = False,
    header_ids: Annotated[bool, "columns with the ids of DICOM headers, which otherwise never leave"] = False,
    own_transforms: Annotated[
        list[str] | None, "module.path.Class of preprocessing transforms of your own that the run names and you trust"
    ] = None,
) -> None:
    """Predict new scans from their raw files with one training, or with the mean of all trainings, each calibrated.

    The same command goes on where a killed one stopped.
    """
    from pipeline.inference.bulk_prediction import BulkOptions, predict_files
    from pipeline.inference.prediction_rows import check_output
    from pipeline.inference.trained_run import TrainedRun

    check_output(out)
    log_to_file(out.with_suffix(".log"))
    trained = TrainedRun.load(run, own_transforms=frozenset(own_transforms or ()))
    draw = None
    if explain:
        from pipeline.explanation.new_scans import map_writer

        draw = map_writer(trained, out.with_name(f"{out.stem}_maps"))
    predict_files(trained, scans, out, BulkOptions(max(1, workers), on_refused, header_ids, draw))


if __name__ == "__main__":
    cli.run(predict, scans=predict_scans)
