"""Inputs of `evaluate` and `audit`: predictions of all folds, covariates of the patients, settings."""

from dataclasses import dataclass
from typing import TypedDict

import pandas as pd

from pipeline.config import Columns, Config
from pipeline.core.paths import Artifacts
from pipeline.evaluation.covariates import Covariates, read_covariates
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


def column_roles(columns: Columns) -> ColumnRoles:
    return ColumnRoles(
        clinical=columns.clinical,
        acquisition=columns.acquisition,
        site=columns.site,
        label_source=columns.label_source,
    )


def read_inputs(config: Config) -> EvaluationInputs:
    """Read and check the tables of the config's experiment and cohort."""
    paths, columns = Artifacts(config.root), config.cohort.columns
    run = paths.run(config.cohort.name, config.name)
    cohort = paths.cohort(config.cohort.name)
    covariates = read_covariates(cohort.cohort, cohort.splits, **column_roles(columns))
    settings = Settings(task=config.cohort.task, **config.evaluation.model_dump())
    tables = [run.predictions(key) for key in config.training_keys]
    return EvaluationInputs(read_folds(tables, several_labels=settings.task == MULTILABEL), covariates, settings)
