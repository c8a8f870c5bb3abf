"""Are a scan's values on the scale of its modality, and on that of its cohort?

A CT whose rescale was lost, a PET in Bq/ml, or half a cohort that was normalized before looks like any other scan once
a window has saturated it; its numbers do not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

SAMPLE_VOXELS = 100_000
"""Voxels that are measured, evenly spread: enough for a percentile."""
AIR_HU = (-1100.0, -900.0)
FAT_HU = -100.0
BONE_HU, LOWEST_BODY_HU = 500.0, -200.0
HIGHEST_SUV, LOWEST_SUV = 50.0, -1.0
FAR_APART = 10.0
"""Ratio of the value ranges of two scans from which their units differ; scanners of MR stay below."""
NAMED = 3
"""Scans that a finding names on each side."""


@dataclass(frozen=True)
class ValueRange:
    """Of a scan's values in the unit of its file."""

    minimum: float
    low: float
    """First percentile; like the next two without the minimum itself, which pads what was not measured."""
    median: float
    high: float
    """99th percentile."""
    is_binary: bool
    """Has at most two values, as a mask does."""

    @property
    def span(self) -> float:
        return self.high - min(self.minimum, self.low)

    def __str__(self) -> str:
        return f"{self.minimum:.4g} to {self.high:.4g}"


VALUE_COLUMNS = tuple(f"value_{field.name}" for field in fields(ValueRange))
"""Columns of cohort.csv that keep the range of each scan."""


def as_columns(found: ValueRange) -> dict[str, str]:
    """Numbers as text, 1 for true."""
    return {name: f"{float(number):.6g}" for name, number in zip(VALUE_COLUMNS, vars(found).values(), strict=True)}


def from_columns(row: Mapping[str, str]) -> ValueRange:
    """The range that a row of cohort.csv has."""
    *numbers, is_binary = (float(row[name]) for name in VALUE_COLUMNS)
    return ValueRange(*numbers, is_binary=bool(is_binary))


def sample_values(values: NDArray) -> NDArray:
    """Evenly spread values of a flat array; the step is odd, so that it does not follow the rows."""
    return values[:: (values.size // SAMPLE_VOXELS) | 1]


def measure_range(sample: NDArray) -> ValueRange:
    """Of a flat sample in the unit of the file."""
    minimum = float(sample.min())
    inside = sample[sample > minimum]
    low, median, high = np.percentile(inside if inside.size else sample, (1, 50, 99))
    return ValueRange(minimum, float(low), float(median), float(high), len(np.unique(sample)) <= 2)


def off_scale(found: ValueRange, modality: str | None) -> str | None:
    """Why the values are not of the modality, which alone has an absolute scale if it is CT, PET or mask; else None."""
    match modality:
        case "CT":
            return off_hounsfield(found)
        case "PET" if found.high > HIGHEST_SUV or found.minimum < LOWEST_SUV:
            return f"{found}, expected SUV, about 0 to 15"
        case "mask" if not found.is_binary:
            return f"more than two values, {found}, expected a mask's two"
    return None


def off_hounsfield(found: ValueRange) -> str | None:
    """Air has -1000 HU and soft tissue 0 to 100; a brain alone, on a background of air, has neither fat nor bone."""
    is_brain = AIR_HU[0] <= found.minimum <= AIR_HU[1] and found.high < BONE_HU
    if found.median > BONE_HU or (found.low > FAT_HU and not is_brain):
        return f"{found} with a median of {found.median:.4g}, expected HU with air near -1000"
    if found.high < LOWEST_BODY_HU or found.low < AIR_HU[0]:
        return f"{found} with a median of {found.median:.4g}, expected HU with soft tissue near 0 and nothing below air"
    return None


def scales_apart(ranges: Mapping[str, ValueRange]) -> str | None:
    """Two groups of scans, by id, whose value ranges are far apart; None if there is one."""
    spans = {name: found.span for name, found in ranges.items() if found.span > 0 and not found.is_binary}
    ordered = sorted(spans, key=spans.__getitem__)
    ratios = [spans[large] / spans[small] for small, large in zip(ordered, ordered[1:], strict=False)]
    if not ratios or max(ratios) < FAR_APART:
        return None
    cut = int(np.argmax(ratios)) + 1
    return " and ".join(describe(group, ranges) for group in (ordered[:cut], ordered[cut:]))


def describe(group: list[str], ranges: Mapping[str, ValueRange]) -> str:
    """`30 scans such as a, b, c with values like 0 to 1`."""
    more = f"{len(group)} scans such as " if len(group) > NAMED else ""
    return f"{more}{', '.join(sorted(group)[:NAMED])} with values like {ranges[group[len(group) // 2]]}"
