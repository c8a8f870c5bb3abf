"""Evaluate: figures with intervals from the predictions of all folds.

Reads   runs/<cohort>/<experiment>/predictions/fold-<k>.csv, cohort.csv, splits.csv
Writes  runs/<cohort>/<experiment>/{metrics.json, summary.json, operating_point.json, calibration.json, conformal.json,
        checkpoints.json, models.csv, subgroups.csv, floors.csv, plots/*.csv}; runs/<cohort>/test_looks.csv, one row a
        look at test
"""

from pathlib import Path
from typing import Annotated

from pipeline import stage
from pipeline.artifacts import Artifacts, RunPaths
from pipeline.config import Config, Evaluation
from pipeline.resolve import check, check_cohort


def evaluate(config: Config) -> None:
    """Judge one experiment by its predictions."""
    from pipeline.evaluation.tables.looks import note_look
    from pipeline.evaluation.tasks import evaluate_task
    from pipeline.evaluation.writing import note_checkpoints, write_evaluation
    from pipeline.judging import read_case

    run, case = Artifacts(config.root).run(config.cohort.name, config.name), read_case(config)
    write_evaluation(evaluate_task(case.predictions, case.settings, case.background), run)
    note_checkpoints(run, config.folds)
    note_look(run.looks, config.name, case.predictions)


def evaluate_file(
    *,
    predictions: Annotated[Path, "table of predictions, from this pipeline or any other; needs no config"],
    out: Annotated[Path, "folder for the figures"],
    cohort: Annotated[Path | None, "table with patient_id and covariates; with --run, config of a cohort"] = None,
    covariates: Annotated[list[str] | None, "its columns to judge by group"] = None,
    intersections: Annotated[list[str] | None, "columns to judge together, such as sex+site"] = None,
    task: Annotated[str, "binary, multiclass, ordinal or multilabel"] = "auto",
    prevalence: Annotated[float | None, "share of the positive class where the model would be used"] = None,
    operating_point: Annotated[str, "youden, sensitivity, specificity or cost"] = "youden",
    confidence: Annotated[float, "level of every interval"] = 0.95,
    num_bootstrap: Annotated[int, "resamples of patients"] = 2000,
) -> None:
    """Judge a bare table."""
    from pipeline.evaluation.settings import MULTILABEL, Settings
    from pipeline.evaluation.tables.background import Background, read_background_table
    from pipeline.evaluation.tables.predictions import read_predictions
    from pipeline.evaluation.tasks import evaluate_task
    from pipeline.evaluation.writing import write_evaluation

    given = {
        "prevalence": prevalence,
        "operating_point": operating_point,
        "confidence": confidence,
        "num_bootstrap": num_bootstrap,
        "intersections": [words.split("+") for words in intersections or ()],
    }
    settings = Settings(task=task, **check(Evaluation, given, where="options").model_dump())
    background = Background(read_background_table(cohort), clinical=tuple(covariates or ())) if cohort else None
    table = read_predictions(predictions, several_labels=task == MULTILABEL)
    write_evaluation(evaluate_task(table, settings, background), RunPaths(out))


def evaluate_external(
    *,
    run: Annotated[Path, "runs/<cohort>/<experiment>, or one fold of it: judge it frozen on another cohort"],
    cohort: Annotated[Path, "config of that cohort, already ingested"],
    out: Annotated[Path | None, "folder for the figures; default: external/<cohort> in the run's folder"] = None,
) -> None:
    """Judge a frozen run on an external cohort: its own threshold and calibration, nothing fitted anew."""
    from rich.console import Console

    from pipeline.evaluation.external import evaluate_frozen
    from pipeline.evaluation.settings import Settings
    from pipeline.evaluation.writing import write_evaluation
    from pipeline.files import write_csv
    from pipeline.inference.external import TrainedFolds
    from pipeline.reporting.external_table import external_table

    trained, external = TrainedFolds.load(run), check_cohort(str(cohort))
    settings = Settings(task=external.task, **trained.config.evaluation.model_dump())
    frozen = trained.read_frozen()
    predictions = trained.predict_cohort(Artifacts(Path(".")).cohort(external.name))
    evaluation = evaluate_frozen(predictions, settings, frozen)
    written = RunPaths(out or trained.paths.folder / "external" / external.name)
    write_csv(written.folder / "predictions.csv", predictions)
    write_evaluation(evaluation, written)
    Console().print(external_table(evaluation, external.name), f"Written to {written.folder}", soft_wrap=True)


if __name__ == "__main__":
    stage.run(evaluate, predictions=evaluate_file, run=evaluate_external)
