"""Section `ingest`: checks of scans and table."""

from typing import Literal

from pydantic import FiniteFloat

from pipeline.config.section import Section


class Ingest(Section):
    """Checking scans and table."""

    on_bad_scan: Literal["stop", "exclude"] = "stop"
    """Stop with all of them listed, or go on without them and say so in the report."""
    fill_nonfinite: FiniteFloat | None = None
    """Value, in the scan's own unit, for NaN and infinite voxels; without it, a scan that has any is rejected."""
    missing_channel: Literal["reject", "zero"] = "reject"
    """A scan that lacks a channel is bad, or has zeros there, and every scan has channels that say which it has."""
