"""This project's reading as a reader for MONAI's `LoadImage`."""

import logging
import warnings
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageReader
from monai.transforms import LoadImaged
from monai.utils import MetaKeys, SpaceKeys
from numpy.typing import NDArray

from pipeline.config import ReferenceRanges
from pipeline.config.ingest import SPACING_RANGE_MM
from pipeline.imaging.io.discover import is_scan_name
from pipeline.imaging.io.read import Channels, MissingChannel, read_channels
from pipeline.imaging.problems import Problem
from pipeline.imaging.reference_range import ScanMeasures, find_unusual, measure_grid
from pipeline.imaging.value_range import ValueRange, measure_range, off_scale, sample_values

PRESENT = "present_channels"
"""Key of the metadata: whether each channel was acquired."""
MEASURES = "measures"
"""Key of the metadata: the fields of `ScanMeasures`, geometry and values of the first file."""
WARNINGS = "warnings"
"""Key of the metadata: what a reader of the results should know about the scan, a line each."""
Source = Path | str | None


class ScanReader(ImageReader):
    """`load_scan("image", ScanReader())` validates, inflates and verifies a scan as every stage does.

    The array is (Z, Y, X): the fastest axis of the file comes last, so that its memory is used as it is, where MONAI's
    own reader copies it into another order. The affine has its columns in that order, so every voxel keeps its place
    in the world. Several files become channels; voxels keep the type they are stored with.
    """

    def __init__(
        self,
        fill: float | None = None,
        missing: MissingChannel = "reject",
        spacing_range_mm: tuple[float, float] = SPACING_RANGE_MM,
        modality: str | None = None,
        reference: ReferenceRanges | None = None,
    ) -> None:
        super().__init__()
        self.fill = fill
        """Replaces NaN and infinite voxels, which are rejected without it."""
        self.missing = missing
        """Whether a channel without a file, given as None, is rejected or read as zeros."""
        self.spacing_range_mm = spacing_range_mm
        """Voxel sizes that are accepted."""
        self.modality = modality
        """Values of a single file that are not on the scale of this modality are among the warnings."""
        self.reference = reference
        """What is far outside of these ranges is among the warnings."""

    def verify_suffix(self, filename: Sequence[Source] | Source) -> bool:
        return all(is_scan_name(path) for path in as_paths(filename) if path is not None)

    def read(self, data: Sequence[Source] | Source) -> list[Path | None]:
        """The paths alone: `LoadImage` takes an error here as a hint to try its other readers."""
        return as_paths(data)

    def get_data(self, img: list[Path | None]) -> tuple[NDArray, dict[str, Any]]:
        """Array (Z, Y, X), or (C, Z, Y, X) of several files, and what a MetaTensor needs to know of it."""
        channels = read_channels(img, missing=self.missing, fill=self.fill, spacing_range_mm=self.spacing_range_mm)
        array = native(channels.stacked().transpose(0, 3, 2, 1))
        affine = channels.grid.affine[:, [2, 1, 0, 3]]
        has_channels = len(img) > 1
        return array if has_channels else array[0], {
            MetaKeys.AFFINE: affine,
            MetaKeys.ORIGINAL_AFFINE: affine.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.SPATIAL_SHAPE: np.array(array.shape[1:]),
            MetaKeys.ORIGINAL_CHANNEL_DIM: 0 if has_channels else float("nan"),
            PRESENT: [scan is not None for scan in channels.scans],
            **self.compare(channels),
        }

    def compare(self, channels: Channels) -> dict[str, Any]:
        """The measures of the first file, and all warnings about the scan."""
        values = measure_range(sample_values(channels.present[0].array.ravel(order="K")))
        measures = measure_grid(channels.grid, values)
        return {
            # Plain values: MONAI walks through metadata, and knows no other types.
            MEASURES: vars(measures),
            WARNINGS: [*merge_warnings(channels), *self.unusual(channels, values, measures)],
        }

    def unusual(self, channels: Channels, values: ValueRange, measures: ScanMeasures) -> list[str]:
        """What is not on the scale of the modality, or far from the cohort's."""
        reasons = {
            # Several files may be of several modalities.
            "NII-SCALE": off_scale(values, self.modality) if len(channels.scans) == 1 else None,
            "NII-UNUSUAL": self.reference and find_unusual(measures, self.reference),
        }
        return [format_problem(Problem(code, reason)) for code, reason in reasons.items() if reason]


def load_scan(key: Hashable, reader: ScanReader) -> LoadImaged:
    """MONAI's loading of `key` by this reader alone, voxels as they are stored.

    MONAI also prepares each of its own readers, one of which warns about a GPU decoder that nothing here asks for.
    """
    plugin = logging.getLogger("monai.data.nvimgcodec_pydicom_plugin")
    level = plugin.level
    plugin.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return LoadImaged(key, reader=reader, dtype=None, image_only=True, expanduser=False)
    finally:
        plugin.setLevel(level)


def as_paths(filename: Sequence[Source] | Source) -> list[Path | None]:
    """One path or several as a list; None is a channel that was not acquired."""
    sources = [filename] if filename is None or isinstance(filename, Path | str) else filename
    return [None if path is None else Path(path) for path in sources]


def native(array: NDArray) -> NDArray:
    """The array in a number type that torch has: of this machine's byte order, of 64 bits at most."""
    dtype = np.dtype(np.float64) if array.dtype.itemsize > 8 else array.dtype.newbyteorder("=")
    return array.astype(dtype, copy=False)


def merge_warnings(channels: Channels) -> list[str]:
    """Each kind of warning once."""
    problems = (problem for scan in channels.present for problem in scan.warnings)
    return list(dict.fromkeys(map(format_problem, problems)))


def format_problem(problem: Problem) -> str:
    return f"{problem.message} [{problem.code}]"
