"""Evaluate: figures with intervals from the predictions of all folds.

Reads   runs/<cohort>/<experiment>/predictions/, cohort.csv, splits.csv
Writes  runs/<cohort>/<experiment>/evaluation/{metrics.json, summary.json, frozen/, tables/, plots/};
        runs/<cohort>/test_looks.csv, one row a look at test
"""

from pathlib import Path
from typing import Annotated

from pipeline.config import Config, Evaluation, cli
from pipeline.config.load import check, check_cohort
from pipeline.core.paths import Artifacts, EvaluationPaths


def evaluate(config: Config) -> None:
    """Judge one experiment by its predictions."""
    from pipeline.evaluation.inputs import read_inputs
    from pipeline.evaluation.outputs import evaluate_task, note_checkpoints, write_evaluation
    from pipeline.evaluation.test_access_log import record_test_evaluation

    run, case = Artifacts(config.root).run(config.cohort.name, config.name), read_inputs(config)
    write_evaluation(evaluate_task(case.predictions, case.settings, case.background), run.evaluation)
    note_checkpoints(run, config.training_keys)
    record_test_evaluation(run.looks, config.name, case.predictions)


def evaluate_file(
    *,
    predictions: Annotated[Path, "table of predictions, from this pipeline or any other; needs no config"],
    out: Annotated[Path, "folder for the figures"],
    cohort: Annotated[Path | None, "table with patient_id and covariates; with --run, config of a cohort"] = None,
    splits: Annotated[Path | None, "table with patient_id, label, split and fold: who trained, for the floors"] = None,
    covariates: Annotated[list[str] | None, "columns of --cohort to judge by group"] = None,
    acquisition: Annotated[list[str] | None, "those that say how scans were made"] = None,
    site: Annotated[str | None, "the one that names the site"] = None,
    label_source: Annotated[list[str] | None, "those that the label was made from, to be left out"] = None,
    intersections: Annotated[list[str] | None, "columns to judge together, such as sex+site"] = None,
    task: Annotated[str, "binary, multiclass, ordinal or multilabel"] = "auto",
    prevalence: Annotated[float | None, "share of the positive class where the model would be used"] = None,
    operating_point: Annotated[str | None, "youden, sensitivity, specificity or cost"] = None,
    operating_target: Annotated[float | None, "the sensitivity or specificity to keep"] = None,
    miss_cost: Annotated[float | None, "false alarms that a miss is worth, for cost"] = None,
    patient_rule: Annotated[str | None, "mean or max: how scans of a patient become one"] = None,
    calibration_bins: Annotated[str | None, "equal_width or equal_count"] = None,
    conformal_coverage: Annotated[float | None, "share of patients whose set shall hold their class"] = None,
    confidence: Annotated[float | None, "level of every interval"] = None,
    num_bootstrap: Annotated[int | None, "resamples of patients"] = None,
    seed: Annotated[int | None, "fixes the resamples"] = None,
) -> None:
    """Judge a bare table."""
    from pipeline.evaluation.covariates import read_covariates
    from pipeline.evaluation.inputs import Roles
    from pipeline.evaluation.outputs import evaluate_task, write_evaluation
    from pipeline.evaluation.predictions import read_predictions
    from pipeline.evaluation.settings import MULTILABEL, Settings

    chosen = {
        "prevalence": prevalence,
        "operating_point": operating_point,
        "operating_target": operating_target,
        "miss_cost": miss_cost,
        "patient_rule": patient_rule,
        "calibration_bins": calibration_bins,
        "conformal_coverage": conformal_coverage,
        "confidence": confidence,
        "num_bootstrap": num_bootstrap,
        "seed": seed,
        "intersections": [words.split("+") for words in intersections or ()],
    }
    given = {name: value for name, value in chosen.items() if value is not None}
    settings = Settings(task=task, **check(Evaluation, given, where="options").model_dump())
    roles = Roles(
        clinical=tuple(covariates or ()),
        acquisition=tuple(acquisition or ()),
        site=site,
        label_source=tuple(label_source or ()),
    )
    if cohort is None and (splits or intersections or any(roles.values())):
        raise ValueError("options: --splits and columns need the table that --cohort names, got none; name it.")
    background = read_covariates(cohort, splits, **roles) if cohort else None
    table = read_predictions(predictions, several_labels=task == MULTILABEL)
    write_evaluation(evaluate_task(table, settings, background), EvaluationPaths(out))


def evaluate_external(
    *,
    run: Annotated[Path, "runs/<cohort>/<experiment>, or one fold of it: judge it frozen on another cohort"],
    cohort: Annotated[Path, "config of that cohort, already ingested"],
    out: Annotated[Path | None, "folder for the figures; default: external/<cohort> in the run's folder"] = None,
) -> None:
    """Judge a frozen run on an external cohort: its own threshold and calibration, nothing fitted anew."""
    from rich.console import Console

    from pipeline.core.io import write_csv
    from pipeline.evaluation.covariates import read_covariates
    from pipeline.evaluation.external import evaluate_external_cohort
    from pipeline.evaluation.inputs import column_roles
    from pipeline.evaluation.outputs import write_evaluation
    from pipeline.evaluation.settings import Settings
    from pipeline.inference.ensemble import CrossValidatedRun
    from pipeline.reporting.text_tables import external_table

    trained, external = CrossValidatedRun.load(run), check_cohort(str(cohort))
    settings = Settings(task=external.task, **trained.config.evaluation.model_dump())
    frozen = trained.read_fitted()
    paths = Artifacts(trained.config.root).cohort(external.name)
    predictions = trained.predict_cohort(paths)
    # Its splits, if it has any, say nothing about who trained this run.
    background = read_covariates(paths.cohort, None, **column_roles(external.columns))
    evaluation = evaluate_external_cohort(predictions, settings, frozen, background)
    written = EvaluationPaths(out) if out else trained.paths.external(external.name)
    write_csv(written.folder / "predictions.csv", predictions)
    write_evaluation(evaluation, written)
    Console().print(external_table(evaluation, external.name), f"Written to {written.folder}", soft_wrap=True)


if __name__ == "__main__":
    cli.run(evaluate, predictions=evaluate_file, run=evaluate_external)
