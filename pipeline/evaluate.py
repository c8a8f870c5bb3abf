"""Evaluate: metrics with intervals from the predictions of all folds.

Reads   runs/<cohort>/<experiment>/predictions/, cohort.csv, ingest.json, splits.csv, leakage.json
Writes  runs/<cohort>/<experiment>/evaluation/{metrics.json, summary.json, frozen/, tables/, plots/};
        test_looks/<cohort>/<experiment>.csv, one row per evaluation of the test set, for git
"""

import logging
from pathlib import Path
from typing import Annotated

from pipeline.config import Config, Evaluation
from pipeline.config.load import load_cohort
from pipeline.config.validate import validate
from pipeline.core import cli
from pipeline.core.paths import Artifacts, EvaluationPaths

log = logging.getLogger(__name__)


def evaluate(config: Config) -> None:
    """Evaluate the predictions of one experiment."""
    from pipeline.evaluation.inputs import read_inputs
    from pipeline.evaluation.locked_test_set import record_test_evaluation
    from pipeline.evaluation.outputs import record_checkpoints
    from pipeline.evaluation.study import evaluate_study, write_study

    run, inputs = Artifacts(config.root).run(config.cohort.name, config.name), read_inputs(config)
    write_study(evaluate_study(config, inputs), run.evaluation)
    record_checkpoints(run, config.training_keys)
    record_test_evaluation(run.looks, config.name, inputs.predictions)
    log.info("evaluate: %s; %s", format_summary(run.evaluation), run.evaluation.metrics)


def format_summary(paths: EvaluationPaths) -> str:
    """The AUROC of each split with its interval, and that of test patients without a near twin where some have one."""
    from pipeline.core.io import read_json
    from pipeline.evaluation.registry import WITHOUT_TWINS

    texts = []
    for split, values in read_json(paths.summary).items():
        texts.append(f"{split} AUROC {format_auroc(values, 'auroc')}")
        if values.get(f"{WITHOUT_TWINS}auroc") is not None:
            texts.append(f"without near twins in training {format_auroc(values, f'{WITHOUT_TWINS}auroc')}")
    return ", ".join(texts)


def format_auroc(values: dict[str, float | None], name: str) -> str:
    value, low, high = (values.get(name + end) for end in ("", "_low", "_high"))
    interval = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
    return "undefined" if value is None else f"{value:.3f}{interval}"


def evaluate_table(
    predictions: Annotated[Path, "table of predictions, from this pipeline or any other"],
    *,
    out: Annotated[Path, "folder for the results"],
    cohort: Annotated[Path | None, "table with patient_id and covariates"] = None,
    splits: Annotated[Path | None, "table with patient_id, label, split and fold, for the baselines"] = None,
    covariates: Annotated[list[str] | None, "columns of --cohort to evaluate by group"] = None,
    acquisition: Annotated[list[str] | None, "columns of --cohort that describe the acquisition"] = None,
    site: Annotated[str | None, "column of --cohort that names the site"] = None,
    label_source: Annotated[list[str] | None, "columns that the label was made from, which are left out"] = None,
    intersections: Annotated[list[str] | None, "columns to combine into subgroups, such as sex+site"] = None,
    task: Annotated[str, "binary, multiclass, ordinal or multilabel"] = "auto",
    prevalence: Annotated[float | None, "share of the positive class where the model would be used"] = None,
    decision_thresholds: Annotated[list[float] | None, "lowest and highest threshold for net benefit"] = None,
    operating_point: Annotated[str | None, "youden, sensitivity, specificity or cost"] = None,
    operating_target: Annotated[float | None, "the sensitivity or specificity to keep"] = None,
    miss_cost: Annotated[float | None, "false positives that a false negative is worth, for cost"] = None,
    patient_rule: Annotated[str | None, "mean or max: how scans of a patient become one"] = None,
    calibration_bins: Annotated[str | None, "equal_width or equal_count"] = None,
    conformal_coverage: Annotated[float | None, "share of patients whose conformal set contains their class"] = None,
    confidence: Annotated[float | None, "level of every interval"] = None,
    num_bootstrap: Annotated[int | None, "resamples of patients"] = None,
    seed: Annotated[int | None, "seed of the resamples"] = None,
) -> None:
    """Evaluate a table of predictions without a config."""
    from pipeline.evaluation.covariates import check_patients, read_covariates
    from pipeline.evaluation.inputs import ColumnRoles
    from pipeline.evaluation.outputs import evaluate_task, write_evaluation
    from pipeline.evaluation.predictions import read_predictions
    from pipeline.evaluation.settings import MULTILABEL, Settings

    chosen = {
        "prevalence": prevalence,
        "decision_thresholds": decision_thresholds and tuple(decision_thresholds),
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
    settings = Settings(task=task, **validate(Evaluation, given, where="options").model_dump())
    roles = ColumnRoles(
        clinical=tuple(covariates or ()),
        acquisition=tuple(acquisition or ()),
        site=site,
        label_source=tuple(label_source or ()),
        severity=(),
    )
    if cohort is None and (splits or intersections or any(roles.values())):
        raise ValueError("options: --splits and columns need the table that --cohort names, got none; name it.")
    patient_covariates = read_covariates(cohort, splits, **roles) if cohort else None
    table = read_predictions(predictions, several_labels=task == MULTILABEL)
    if patient_covariates:
        check_patients(table, patient_covariates, cohort, splits)
    write_evaluation(evaluate_task(table, settings, patient_covariates), EvaluationPaths(out))


def evaluate_external(
    run: Annotated[Path, "runs/<cohort>/<experiment>, or one training in it"],
    *,
    cohort: Annotated[Path, "config of the other cohort, already ingested"],
    out: Annotated[Path | None, "folder for the results (default: external/<cohort> in the run's folder)"] = None,
) -> None:
    """Evaluate a run on another cohort with its own threshold and calibration; nothing is fitted again."""
    from rich.console import Console

    from pipeline.core.io import write_csv
    from pipeline.evaluation.covariates import read_covariates
    from pipeline.evaluation.external import evaluate_external_cohort
    from pipeline.evaluation.inputs import column_roles
    from pipeline.evaluation.settings import Settings
    from pipeline.evaluation.study import study_external, write_study
    from pipeline.inference.ensemble import CrossValidatedRun
    from pipeline.reporting.formatting import external_table

    trained, external = CrossValidatedRun.load(run), load_cohort(str(cohort))
    settings = Settings(task=external.task, **trained.config.evaluation.model_dump())
    frozen = trained.read_fitted()
    paths = Artifacts(trained.config.root).cohort(external.name)
    predictions = trained.predict_cohort(paths)
    # Its splits, if it has any, are not those of this run.
    patient_covariates = read_covariates(paths.cohort, None, **column_roles(external.columns))
    evaluation = evaluate_external_cohort(predictions, settings, frozen, patient_covariates)
    study = study_external(evaluation, predictions, patient_covariates, paths)
    written = EvaluationPaths(out) if out else trained.paths.external(external.name)
    write_csv(written.folder / "predictions.csv", predictions)
    write_study(study, written)
    Console().print(external_table(evaluation, external.name), f"Written to {written.folder}", soft_wrap=True)


if __name__ == "__main__":
    cli.run(evaluate, table=evaluate_table, external=evaluate_external)
