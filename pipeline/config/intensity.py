"""How voxel values are scaled, one section a scheme."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipeline.config.section import Section


def check_low_below_high(window: tuple[float, float]) -> tuple[float, float]:
    if not window[0] < window[1]:
        raise ValueError(f"must be (low, high) with low < high, got {window}")
    return window


Range = Annotated[tuple[float, float], AfterValidator(check_low_below_high)]


class Window(Section):
    """CT: saturate outside a window, then scale it to 0..1."""

    scheme: Literal["window"]
    window_hu: Range
    """(low, high) in Hounsfield units."""


class Suv(Section):
    """PET in standardized uptake values: saturate outside a window, then scale it to 0..1."""

    scheme: Literal["suv"]
    window_suv: Range = (0.0, 15.0)
    """(low, high); up to 3 suits the brain."""


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


Intensity = Annotated[Window | Suv | ZScore | Rescale | Histogram | Unchanged, Field(discriminator="scheme")]
