"""The fingerprint of a cohort: geometry of all development scans from their headers, voxels of a few.

Anatomical axes are in the order R, A, S (left to right, back to front, foot to head), whatever the order in the files.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config import Intensity, ReferenceRanges
from pipeline.core.columns import PATIENT_ID, SCAN_ID
from pipeline.imaging.cropping import mask_target
from pipeline.imaging.foreground import find_foreground
from pipeline.imaging.geometry import anatomical_axes, axcodes, spacing_mm
from pipeline.imaging.io.discover import ScanFiles, scan_files
from pipeline.imaging.io.read import ANY_SPACING_MM, Scan, read_scan
from pipeline.imaging.reference_range import measure_row, parse_triple, reference_ranges
from pipeline.imaging.value_range import VALUE_COLUMNS

MAX_MEASURED = 30
"""Scans whose voxels are read: enough for a 95th percentile, few enough to be cheap."""


@dataclass(frozen=True)
class Geometry:
    """Shape in voxels and spacing in mm of each scan along (R, A, S), both (num_scans, 3)."""

    shape: np.ndarray
    spacing: np.ndarray

    @property
    def extent_mm(self) -> np.ndarray:
        return self.shape * self.spacing

    def along(self, orientation: str) -> "Geometry":
        """The same geometry along the axes (D, H, W) of an orientation such as SPL."""
        order = anatomical_axes(orientation)
        return Geometry(self.shape[:, order], self.spacing[:, order])


@dataclass(frozen=True)
class Voxels:
    """What the voxels of one scan show."""

    scan_id: str
    body_mm: np.ndarray
    """Extent along (R, A, S) of the body's box, or of the mask's box if the input is cropped to a mask."""
    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    is_binary: bool
    """Has at most two values, as a mask does."""


def read_geometry(table: pd.DataFrame) -> Geometry:
    """Geometry from the columns shape, spacing_mm and orientation of cohort.csv."""
    shapes, spacings = [], []
    for shape, spacing, orientation in zip(table["shape"], table["spacing_mm"], table["orientation"], strict=True):
        order = np.argsort(anatomical_axes(orientation))
        shapes.append(np.array(parse_triple(shape))[order])
        spacings.append(np.array(parse_triple(spacing))[order])
    return Geometry(np.array(shapes), np.array(spacings))


def read_ranges(table: pd.DataFrame) -> ReferenceRanges | None:
    """What is usual for the scans, from the measured columns of cohort.csv; None for a few scans."""
    missing = [name for name in VALUE_COLUMNS if name not in table]
    if missing:
        raise ValueError(f"cohort.csv: no column {missing[0]}; 'dvc repro ingest' writes it.")
    return reference_ranges(map(measure_row, table.to_dict("records")))


def choose_scans(table: pd.DataFrame, most: int = MAX_MEASURED) -> pd.DataFrame:
    """At most `most` rows, from different patients first, in an order that does not depend on that of the table."""
    shuffled = table.assign(order=[hashlib.sha256(scan.encode()).hexdigest() for scan in table[SCAN_ID]]).sort_values(
        "order"
    )
    repeat = shuffled.groupby(PATIENT_ID).cumcount()
    return shuffled.assign(repeat=repeat).sort_values(["repeat", "order"])[:most].drop(columns=["order", "repeat"])


def measure_voxels(
    table: pd.DataFrame, raw: Path, intensity: Intensity, fill: float | None, to_mask: bool = False
) -> list[Voxels]:
    """Read the chosen scans below `raw`, one at a time; of several channels, the first one that exists.

    `fill` replaces NaN voxels; with `to_mask`, the box is that of the mask that the input is cropped to.
    """
    measured = []
    for row in table.to_dict("records"):
        files = scan_files(row, raw)
        found = measure_scan(row[SCAN_ID], read_scan(files.first, fill, ANY_SPACING_MM), intensity)
        measured.append(replace(found, body_mm=mask_mm(files)) if to_mask else found)
    return measured


def measure_scan(scan_id: str, scan: Scan, intensity: Intensity) -> Voxels:
    box = find_foreground(scan.array, intensity).size_voxels * scan.spacing_mm
    low, high = float(scan.array.min()), float(scan.array.max())
    return Voxels(
        scan_id=scan_id,
        body_mm=box[np.argsort(anatomical_axes(scan.orientation))],
        low=low,
        high=high,
        is_binary=bool(np.isin(scan.array, (low, high)).all()),
    )


def mask_mm(files: ScanFiles) -> np.ndarray:
    """Extent of the mask's box along (R, A, S)."""
    focus = mask_target(files)
    extent = np.array([part.stop - part.start for part in focus.box]) * spacing_mm(focus.grid.affine)
    return extent[np.argsort(anatomical_axes(axcodes(focus.grid.affine)))]
