"""Covariates: what is known about the patients beyond the predictions."""

import logging
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.core.columns import FOLD, LABEL, PATIENT_ID, SCAN_ID, SPLIT
from pipeline.core.errors import did_you_mean
from pipeline.core.ids import check_filled, check_join
from pipeline.core.tables import read_table

log = logging.getLogger(__name__)
MEASURED = ("shape", "spacing_mm", "orientation", "dtype")
"""Columns that ingest adds to every cohort; they describe acquisition."""


@dataclass(frozen=True)
class Covariates:
    """The cohort's table with the roles of its columns."""

    cohort: pd.DataFrame
    splits: pd.DataFrame | None = None
    """splits.csv; without it no patients are known to fit a baseline on."""
    clinical: tuple[str, ...] = ()
    acquisition: tuple[str, ...] = ()
    """Scanner, protocol and site."""
    site: str | None = None
    """Which of these is the site."""
    label_source: tuple[str, ...] = ()
    """Sources of the label; excluded from the sets below, whatever their other roles."""
    severity: tuple[str, ...] = ()
    """Which of `clinical` say how ill a patient is."""

    def __post_init__(self) -> None:
        for name in self.subgroup_columns:
            if name not in self.cohort:
                raise ValueError(
                    f"cohort table: no column '{name}'.{did_you_mean(name, self.cohort.columns)} "
                    f"Got {', '.join(self.cohort.columns)}; name covariates that it has."
                )

    @property
    def subgroup_columns(self) -> tuple[str, ...]:
        """Columns whose values are subgroups."""
        return self.without_label_source((*self.clinical, *self.acquisition))

    @property
    def predictors(self) -> dict[str, tuple[str, ...]]:
        """Sets of columns that may predict the label without the image."""
        measured = tuple(name for name in MEASURED if name in self.cohort)
        return {
            "clinical covariates": self.without_label_source(self.clinical),
            "acquisition": self.without_label_source((*self.acquisition, *measured)),
        }

    @property
    def stated_severity(self) -> tuple[str, ...]:
        return self.without_label_source(self.severity)

    def without_label_source(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if name not in self.label_source)


def read_covariates(
    cohort: Path,
    splits: Path | None,
    *,
    clinical: tuple[str, ...],
    acquisition: tuple[str, ...],
    site: str | None,
    label_source: tuple[str, ...],
    severity: tuple[str, ...] = (),
) -> Covariates:
    """Read the covariates of a cohort from its files, with the roles of its columns."""
    return Covariates(
        cohort=read_patient_table(cohort),
        splits=read_patient_table(splits, LABEL, SPLIT, FOLD) if splits else None,
        clinical=clinical,
        acquisition=acquisition + ((site,) if site else ()),
        site=site,
        label_source=label_source,
        severity=severity,
    )


def read_patient_table(path: Path, *columns: str) -> pd.DataFrame:
    """Read cohort.csv, splits.csv or another table with patient_id and the given columns, all as text."""
    table = read_table(path, "'dvc repro' writes a cohort's tables")
    for column in (PATIENT_ID, *columns):
        if column not in table:
            raise ValueError(
                f"{path}: column '{column}' is missing.{did_you_mean(column, table.columns)} "
                f"Got {', '.join(table.columns)}; add it."
            )
    check_filled(table, [PATIENT_ID], str(path))
    return table


def check_patients(
    predictions: pd.DataFrame, covariates: Covariates, cohort: Path, splits: Path | None, *, must_be_whole: bool = False
) -> None:
    """Raise ValueError where the tables cannot be joined as they are; log patients that a table may lack.

    A patient's rows in a table without scans must agree; in one with scans, those of the first scan count.
    """
    for table, path in ((covariates.cohort, cohort), (covariates.splits, splits)):
        if table is None:
            continue
        missing = check_join(predictions[PATIENT_ID], table[PATIENT_ID], what="patient", where=str(path))
        if missing and must_be_whole:
            raise ValueError(f"{path}: patient '{missing[0]}' of the predictions is missing; run 'dvc repro' again.")
        if missing:
            log.warning("%s: %d patients of the predictions are missing, such as '%s'", path, len(missing), missing[0])
    for name in () if SCAN_ID in covariates.cohort else covariates.subgroup_columns:
        check_one_value(covariates.cohort, name, str(cohort))
    if covariates.splits is not None:
        check_one_value(covariates.splits, SPLIT, str(splits))


def check_one_value(table: pd.DataFrame, column: str, where: str) -> None:
    values = table[[PATIENT_ID, column]].drop_duplicates()
    twice = values[values[PATIENT_ID].duplicated(keep=False)]
    if len(twice):
        patient = twice[PATIENT_ID].iloc[0]
        found = " and ".join(f"'{value}'" for value in twice[column][twice[PATIENT_ID] == patient])
        raise ValueError(f"{where}: patient '{patient}' has {column} {found}, expected one value; keep one.")
