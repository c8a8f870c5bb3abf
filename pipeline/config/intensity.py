"""How voxel values are scaled, one section a scheme."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.section import Section


class Window(Section):
    """CT: saturate outside a window, then scale it to 0..1."""

    scheme: Literal["window"]
    window_hu: tuple[float, float]
    """(low, high) in Hounsfield units."""

    @model_validator(mode="after")
    def _low_below_high(self) -> "Window":
        if not self.window_hu[0] < self.window_hu[1]:
            raise ValueError(f"window_hu must be (low, high) with low < high, got {self.window_hu}")
        return self


class ZScore(Section):
    """MR: clip at percentiles of the foreground, then subtract its mean and divide by its standard deviation."""

    scheme: Literal["zscore"]
    percentiles: tuple[float, float] = (0.5, 99.5)
    """(low, high) of the foreground, in percent."""


class Rescale(Section):
    """Any modality: percentiles of the foreground to 0..1."""

    scheme: Literal["rescale"]
    percentiles: tuple[float, float] = (0.5, 99.5)
    """(low, high) of the foreground, in percent."""


class Histogram(Section):
    """MR: percentiles of the foreground to 0..1, then its deciles to their mean over the training scans of the fold."""

    scheme: Literal["histogram"]
    percentiles: tuple[float, float] = (0.5, 99.5)
    """(low, high) of the foreground, in percent."""


class Unchanged(Section):
    """Binary masks, and values that already mean something: left as they are (a mask resampled is its occupancy)."""

    scheme: Literal["unchanged"]


Intensity = Annotated[Window | ZScore | Rescale | Histogram | Unchanged, Field(discriminator="scheme")]
