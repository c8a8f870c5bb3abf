"""Options of the phantom: `source: {kind: phantom, …}`."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from pipeline.config.section import Fraction
from pipeline.config.source import Source


class PhantomSource(Source):
    """A brain cohort generated from the ICBM152 template, with a planted lesion and a known best AUROC."""

    kind: Literal["phantom"]
    num_patients: PositiveInt = 120
    """Patients to generate; each has one to three scans."""
    seed: NonNegativeInt = 0
    """The same seed gives the same bytes."""
    coarsen: PositiveFloat = 1.0
    """Factor on the voxel size of every scanner; 2 makes the scans an eighth of the size, for quick trials."""
    prevalence: Annotated[float, Field(gt=0, lt=1)] = 0.35
    """Expected share of patients with the positive label."""
    best_auroc: Annotated[float, Field(gt=0.5, lt=1)] = 0.92
    """AUROC of the true probability, which no classifier can beat in expectation."""
    site_shortcut: Fraction = 0.0
    """Share of patients whose site is chosen by their label: 0 none, 1 the site reveals the label."""
    leaked_patients: NonNegativeInt = 0
    """Patients whose scans appear again, byte for byte, under a new patient's id."""
    duplicated_scans: NonNegativeInt = 0
    """Scans that appear again, saved again, under the id of another patient."""
    mislabeled: Fraction = 0.0
    """Share of patients whose label is flipped."""

    @model_validator(mode="after")
    def _enough_patients(self) -> "PhantomSource":
        if self.leaked_patients > self.num_patients:
            raise ValueError(f"leaked_patients must be at most num_patients, got {self.leaked_patients}")
        if self.duplicated_scans and self.num_patients < 2:
            raise ValueError("duplicated_scans needs two patients or more: a copy is filed under another patient")
        return self
