"""Is a scan like those of its cohort, in geometry and in values?

`ingest` compares each scan with the whole cohort. `plan` measures the ranges of the development scans; they are part of
the plan, and so of every checkpoint, by which `predict` compares a new scan. A range belongs to any number that is
measured of a scan, and a quantity is one line of a table.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.config import ReferenceRanges
from pipeline.imaging.geometry import Grid, anatomical_axes, axcodes, spacing_mm
from pipeline.imaging.value_range import ValueRange, from_columns

MIN_SCANS = 8
"""Fewer scans than these have no range."""
PERCENTILES = (5, 95)
RARE = 0.05
"""Share of the scans below which an orientation is not one of the cohort's."""


@dataclass(frozen=True)
class Quantity:
    """A number measured of a scan, and how far beyond the cohort's range it may be."""

    title: str
    compared: Literal["ratio", "difference"]
    tolerance: float
    """A factor, or a difference, beyond the 5th or 95th percentile."""

    def is_outside(self, value: float, low: float, high: float) -> bool:
        if self.compared == "ratio":
            return value < low / self.tolerance or value > high * self.tolerance
        return value < low - self.tolerance or value > high + self.tolerance


AXES = {"R": "left-right", "A": "back-front", "S": "foot-head"}
GEOMETRY = {
    "spacing": Quantity("voxel size in mm", "ratio", 1.5),
    "extent": Quantity("field of view in mm", "ratio", 1.5),
    "size": Quantity("voxels", "ratio", 2.0),
}
QUANTITIES = {
    **{
        f"{name}_{axis}": Quantity(f"{quantity.title} along {AXES[axis]}", quantity.compared, quantity.tolerance)
        for name, quantity in GEOMETRY.items()
        for axis in AXES
    },
    # Scanners of MR differ several times in their values.
    "value_span": Quantity("width of the range of values", "ratio", 5.0),
    "value_offset": Quantity("lowest values as a share of the range's width", "difference", 0.25),
    "is_binary": Quantity("only two values (1) or an image (0)", "difference", 0.0),
}


@dataclass(frozen=True)
class ScanMeasures:
    """Of one scan: a number for each of the `QUANTITIES` that it has, and the direction of its axes."""

    numbers: dict[str, float]
    orientation: str


def measure(shape: Sequence[float], spacing: Sequence[float], orientation: str, values: ValueRange) -> ScanMeasures:
    """From shape and spacing in the order of the file's axes, whose directions are `orientation`, such as LPS."""
    order = np.argsort(anatomical_axes(orientation))
    along = {"spacing": np.asarray(spacing, float)[order], "size": np.asarray(shape, float)[order]}
    along["extent"] = along["spacing"] * along["size"]
    numbers = {f"{name}_{axis}": float(along[name][index]) for name in GEOMETRY for index, axis in enumerate(AXES)}
    numbers["is_binary"] = float(values.is_binary)
    span = values.high - values.low
    if span > 0 and not values.is_binary:
        numbers |= {"value_span": span, "value_offset": values.low / span}
    return ScanMeasures(numbers, orientation)


def measure_row(row: Mapping[str, str]) -> ScanMeasures:
    """From the columns of cohort.csv that ingest measured."""
    return measure(parse_triple(row["shape"]), parse_triple(row["spacing_mm"]), row["orientation"], from_columns(row))


def parse_triple(text: str) -> list[float]:
    """`256x256x180` as three numbers."""
    return [float(number) for number in text.split("x")]


def measure_grid(grid: Grid, values: ValueRange) -> ScanMeasures:
    return measure(grid.shape, spacing_mm(grid.affine), axcodes(grid.affine), values)


def reference_ranges(scans: Iterable[ScanMeasures]) -> ReferenceRanges | None:
    """The 5th to 95th percentile of each quantity, and the orientations of the scans; None for a few scans."""
    scans = list(scans)
    if len(scans) < MIN_SCANS:
        return None
    orientations = Counter(scan.orientation for scan in scans)
    ranges = {}
    for name in QUANTITIES:
        numbers = [scan.numbers[name] for scan in scans if name in scan.numbers]
        if len(numbers) >= MIN_SCANS:
            # Rounded inwards, so that one odd scan among a few does not make the range that it is compared with.
            low, high = (
                np.percentile(numbers, percentile, method=method)
                for percentile, method in zip(PERCENTILES, ("higher", "lower"), strict=True)
            )
            ranges[name] = (float(f"{low:.6g}"), float(f"{high:.6g}"))
    usual = sorted(name for name, count in orientations.items() if count >= RARE * len(scans))
    return ReferenceRanges(num_scans=len(scans), ranges=ranges, orientations=tuple(usual))


def find_unusual(scan: ScanMeasures, reference: ReferenceRanges) -> str | None:
    """What of a scan is far outside of the cohort's ranges, each with its value and what is expected; else None."""
    found = [
        describe(QUANTITIES[name], scan.numbers[name], reference.ranges[name])
        for name in outside(scan.numbers, reference.ranges)
    ]
    if scan.orientation not in reference.orientations:
        found.append(f"axes {scan.orientation}, expected {' or '.join(reference.orientations)}")
    return "; ".join(found) or None


def outside(numbers: Mapping[str, float], ranges: Mapping[str, tuple[float, float]]) -> list[str]:
    """The quantities outside of their range; the number of voxels only where it is not a consequence."""
    found = [
        name
        for name, quantity in QUANTITIES.items()
        if name in numbers and name in ranges and quantity.is_outside(numbers[name], *ranges[name])
    ]
    explained = {f"size_{name[-1]}" for name in found if name.startswith(("spacing_", "extent_"))}
    return [name for name in found if name not in explained]


def describe(quantity: Quantity, value: float, expected: tuple[float, float]) -> str:
    low, high = (f"{bound:.3g}" for bound in expected)
    return f"{quantity.title} {value:.3g}, expected {low if low == high else f'{low} to {high}'}"
