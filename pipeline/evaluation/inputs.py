"""What `evaluate` and `audit` judge: predictions of all folds, what is known of the patients, and the rules."""

from dataclasses import dataclass
from typing import TypedDict

import pandas as pd

from pipeline.config import Columns, Config
from pipeline.core.paths import Artifacts
from pipeline.evaluation.covariates import Background, read_covariates
from pipeline.evaluation.predictions import read_folds
from pipeline.evaluation.settings import MULTILABEL, Settings


@dataclass(frozen=True)
class Case:
    """One experiment, to be judged from tables alone."""

    predictions: pd.DataFrame
    background: Background
    settings: Settings


class Roles(TypedDict):
    """The columns that evaluation takes, by their role."""

    clinical: tuple[str, ...]
    acquisition: tuple[str, ...]
    site: str | None
    label_source: tuple[str, ...]


def column_roles(columns: Columns) -> Roles:
    return Roles(
        clinical=columns.clinical,
        acquisition=columns.acquisition,
        site=columns.site,
        label_source=columns.label_source,
    )


def read_inputs(config: Config) -> Case:
    """The tables of the config's experiment and cohort, checked."""
    paths, columns = Artifacts(config.root), config.cohort.columns
    run = paths.run(config.cohort.name, config.name)
    cohort = paths.cohort(config.cohort.name)
    background = read_covariates(cohort.cohort, cohort.splits, **column_roles(columns))
    settings = Settings(task=config.cohort.task, **config.evaluation.model_dump())
    tables = [run.predictions(key) for key in config.training_keys]
    return Case(read_folds(tables, several_labels=settings.task == MULTILABEL), background, settings)
