"""What is known of the patients beyond the predictions."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.artifacts import PATIENT_ID
from pipeline.errors import did_you_mean

MEASURED = ("shape", "spacing_mm", "orientation", "dtype")
"""Columns that ingest adds to every cohort: how a scan was made, whatever it shows."""


@dataclass(frozen=True)
class Background:
    """The cohort's table with the roles of its columns; what the label was made from is in none of them."""

    cohort: pd.DataFrame
    splits: pd.DataFrame | None = None
    """splits.csv; without it there is nobody to fit a floor on."""
    clinical: tuple[str, ...] = ()
    acquisition: tuple[str, ...] = ()
    """Scanner, protocol and site."""
    site: str | None = None
    """Which of these is the site."""

    def __post_init__(self) -> None:
        for name in self.covariates:
            if name not in self.cohort:
                raise ValueError(
                    f"cohort table: no column '{name}'.{did_you_mean(name, self.cohort.columns)} "
                    f"Got {', '.join(self.cohort.columns)}; name covariates that it has."
                )

    @property
    def covariates(self) -> tuple[str, ...]:
        """Columns that figures are broken down by."""
        return (*self.clinical, *self.acquisition)

    @property
    def predictors(self) -> dict[str, tuple[str, ...]]:
        """Sets of columns that might give the label away without the image."""
        measured = tuple(name for name in MEASURED if name in self.cohort)
        return {"clinical covariates": self.clinical, "acquisition": (*self.acquisition, *measured)}


def read_background_table(path: Path) -> pd.DataFrame:
    """cohort.csv or splits.csv, or a table from elsewhere with a column patient_id; all text."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; 'dvc repro' writes a cohort's tables.")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if PATIENT_ID not in table:
        raise ValueError(
            f"{path}: column '{PATIENT_ID}' is missing.{did_you_mean(PATIENT_ID, table.columns)} "
            f"Got {', '.join(table.columns)}; add it."
        )
    return table
