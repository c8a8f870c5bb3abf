"""Inputs of `evaluate` and `audit`: predictions of all folds, covariates of the patients, settings."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import pandas as pd

from pipeline.config import Columns, Config
from pipeline.core.columns import FOLD, SCAN_ID, SEED, SPLIT, TEST, VAL
from pipeline.core.folds import read_splits, rows_of_fold
from pipeline.core.paths import Artifacts, TrainingKey
from pipeline.evaluation.covariates import Covariates, check_patients, read_covariates
from pipeline.evaluation.predictions import read_folds
from pipeline.evaluation.settings import MULTILABEL, Settings


@dataclass(frozen=True)
class EvaluationInputs:
    """Tables and settings of one experiment."""

    predictions: pd.DataFrame
    covariates: Covariates
    settings: Settings


class ColumnRoles(TypedDict):
    """Columns of the cohort by role."""

    clinical: tuple[str, ...]
    acquisition: tuple[str, ...]
    site: str | None
    label_source: tuple[str, ...]
    severity: tuple[str, ...]


def column_roles(columns: Columns) -> ColumnRoles:
    return ColumnRoles(
        clinical=columns.clinical,
        acquisition=columns.acquisition,
        site=columns.site,
        label_source=columns.label_source,
        severity=columns.severity,
    )


def read_inputs(config: Config) -> EvaluationInputs:
    """Read and check the tables of the config's experiment and cohort."""
    paths, columns = Artifacts(config.root), config.cohort.columns
    run = paths.run(config.cohort.name, config.name)
    cohort = paths.cohort(config.cohort.name)
    covariates = read_covariates(cohort.cohort, cohort.splits, **column_roles(columns))
    settings = Settings(task=config.cohort.task, **config.evaluation.model_dump())
    tables = [run.predictions(key) for key in config.training_keys]
    predictions = read_folds(tables, several_labels=settings.task == MULTILABEL)
    check_patients(predictions, covariates, cohort.cohort, cohort.splits, must_be_whole=True)
    splits = read_splits(cohort.splits)
    for key, path in zip(config.training_keys, tables, strict=True):
        check_complete(predictions, splits, key, path)
    return EvaluationInputs(predictions, covariates, settings)


def check_complete(predictions: pd.DataFrame, splits: pd.DataFrame, key: TrainingKey, path: Path) -> None:
    """Raise ValueError unless the table `path` of a training has all scans that its fold holds out, and no others."""
    rows = rows_of_fold(splits, key.fold)
    expected = {(scan, split) for split in (VAL, TEST) for scan in rows[split][SCAN_ID]}
    of_training = predictions[(predictions[FOLD] == key.fold) & (predictions[SEED] == key.seed)]
    found = set(of_training[[SCAN_ID, SPLIT]].itertuples(index=False, name=None))
    if found != expected:
        scan, split = min(found ^ expected)
        raise ValueError(
            f"{path}: {len(found & expected)} of {len(expected)} scans that splits.csv holds out are there, and "
            f"{len(found - expected)} others, such as '{scan}' ({split}); 'python -m pipeline.predict' writes it again."
        )
