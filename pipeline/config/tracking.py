"""Section `tracking`: Weights & Biases."""

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from pipeline.config.section import Name, Section


class Tracking(Section):
    """Weights & Biases."""

    mode: Literal["auto", "offline", "none"] = "auto"
    """auto: online with a key, else offline; none: the CSV history alone."""
    project: Name = "volumes"
    """W&B project."""
    log_images: bool = False
    """Let pixels leave the machine, and the report, which shows scans; ids in it become pseudonyms."""
    panel_every: PositiveInt = 5
    """Epochs from one panel of sample slices to the next, where pixels may leave."""
    assumed_watts: PositiveFloat = 100.0
    """Draw of the machine while it trains, for the energy estimate."""
