"""Evaluate: figures with intervals from the predictions of all folds.

Reads   runs/<cohort>/<experiment>/predictions/fold-<k>.csv, cohort.csv, splits.csv
Writes  runs/<cohort>/<experiment>/{metrics.json, summary.json, operating_point.json, calibration.json, subgroups.csv,
        floors.csv, plots/*.csv}
"""

from pathlib import Path
from typing import Annotated

from pipeline import stage
from pipeline.artifacts import Artifacts, RunPaths
from pipeline.config import Config


def evaluate(config: Config) -> None:
    """Judge one experiment by its predictions."""
    from pipeline.evaluation.background import read_background
    from pipeline.evaluation.evaluating import evaluate_table
    from pipeline.evaluation.predictions import read_folds
    from pipeline.evaluation.settings import Settings
    from pipeline.evaluation.writing import write_evaluation

    paths, columns = Artifacts(config.root), config.cohort.columns
    run = paths.run(config.cohort.name, config.name)
    background = read_background(
        paths.cohort(config.cohort.name),
        clinical=columns.clinical,
        acquisition=columns.acquisition,
        site=columns.site,
        label_source=columns.label_source,
    )
    predictions = read_folds([run.predictions(fold) for fold in config.folds])
    write_evaluation(evaluate_table(predictions, Settings(**config.evaluation.model_dump()), background), run)


def evaluate_file(
    *,
    predictions: Annotated[Path, "table of predictions, from this pipeline or any other; needs no config"],
    out: Annotated[Path, "folder for the figures"],
    cohort: Annotated[Path | None, "table with patient_id and covariates, for subgroups"] = None,
    covariates: Annotated[list[str] | None, "its columns to judge by group"] = None,
    confidence: Annotated[float, "level of every interval"] = 0.95,
    num_bootstrap: Annotated[int, "resamples of patients"] = 2000,
) -> None:
    """Judge a bare table."""
    from pipeline.evaluation.background import Background, read_background_table
    from pipeline.evaluation.evaluating import evaluate_table
    from pipeline.evaluation.predictions import read_predictions
    from pipeline.evaluation.settings import Settings
    from pipeline.evaluation.writing import write_evaluation

    settings = Settings(confidence=confidence, num_bootstrap=num_bootstrap)
    background = Background(read_background_table(cohort), clinical=tuple(covariates or ())) if cohort else None
    write_evaluation(evaluate_table(read_predictions(predictions), settings, background), RunPaths(out))


if __name__ == "__main__":
    stage.run(evaluate, predictions=evaluate_file)
