"""Section `ingest`: checks of scans and table."""

from typing import Literal

from pydantic import FiniteFloat, PositiveFloat, model_validator

from pipeline.config.section import Section

SPACING_RANGE_MM = (0.05, 50.0)
"""Voxel sizes of medical scans; others are mostly wrong units."""


class Ingest(Section):
    """Checking scans and table."""

    on_bad_scan: Literal["stop", "exclude"] = "stop"
    """Stop with all of them listed, or go on without them and say so in the report."""
    fill_nonfinite: FiniteFloat | None = None
    """Value, in the scan's own unit, for NaN and infinite voxels; without it, a scan that has any is rejected."""
    spacing_range_mm: tuple[PositiveFloat, PositiveFloat] = SPACING_RANGE_MM
    """Smallest and largest voxel size; a scan with another is rejected. Micro-CT and OCT need a smaller one."""
    missing_channel: Literal["reject", "zero"] = "reject"
    """A scan that lacks a channel is bad, or has zeros there, and every scan has channels that say which it has."""

    @model_validator(mode="after")
    def _rising(self) -> "Ingest":
        if self.spacing_range_mm[0] >= self.spacing_range_mm[1]:
            raise ValueError("ingest.spacing_range_mm: expected the smaller size first")
        return self
