"""An experiment as a study: its figures beside who failed to be scanned and who has a near twin in training."""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from pipeline.config import Config
from pipeline.core.folds import read_splits
from pipeline.core.io import read_json, write_csv
from pipeline.core.paths import Artifacts, CohortPaths, EvaluationPaths
from pipeline.evaluation.case_mix import case_mix
from pipeline.evaluation.completeness import participant_flow, with_intended
from pipeline.evaluation.covariates import Covariates
from pipeline.evaluation.evaluate import Evaluation
from pipeline.evaluation.inputs import EvaluationInputs
from pipeline.evaluation.near_twins import patients_with_twins, with_figures_without_twins
from pipeline.evaluation.outputs import evaluate_task, write_evaluation
from pipeline.evaluation.predictions import check_predictions


@dataclass(frozen=True)
class Study:
    """An evaluation, and tables on its patients."""

    evaluation: Evaluation
    case_mix: pd.DataFrame
    participant_flow: pd.DataFrame


def evaluate_study(config: Config, inputs: EvaluationInputs) -> Study:
    """Evaluate an experiment with what ingest.json and leakage.json say about its cohort."""
    paths = Artifacts(config.root).cohort(config.cohort.name)
    check_written(paths.ingest, "ingest")
    check_written(paths.leakage, "split")
    splits, ingest, leakage = read_splits(paths.splits), read_json(paths.ingest), read_json(paths.leakage, "findings")
    predictions, settings, cohort = inputs.predictions, inputs.settings, inputs.covariates.cohort
    found = evaluate_task(predictions, settings, inputs.covariates)
    found = with_figures_without_twins(found, predictions, patients_with_twins(leakage, splits))
    found = replace(found, metrics=with_intended(found.metrics, cohort, ingest, found.classes, settings))
    return Study(found, case_mix(inputs.covariates), participant_flow(ingest, splits, predictions))


def study_external(
    evaluation: Evaluation, predictions: pd.DataFrame, covariates: Covariates, paths: CohortPaths
) -> Study:
    """The evaluation of another cohort, all of it tested, with the scans that its ingest excluded."""
    check_written(paths.ingest, "ingest")
    ingest, settings, classes = read_json(paths.ingest), evaluation.settings, evaluation.classes
    metrics = with_intended(evaluation.metrics, covariates.cohort, ingest, classes, settings)
    flow = participant_flow(ingest, None, check_predictions(predictions))
    return Study(replace(evaluation, metrics=metrics), case_mix(covariates), flow)


def check_written(path: Path, stage: str) -> None:
    """Raise FileNotFoundError unless the stage has written the file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; 'python -m pipeline.{stage}' writes it.")


def write_study(study: Study, paths: EvaluationPaths) -> None:
    write_evaluation(study.evaluation, paths)
    write_csv(paths.case_mix, study.case_mix)
    write_csv(paths.participant_flow, study.participant_flow)
