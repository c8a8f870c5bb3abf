"""The project's reading as a reader for MONAI's `LoadImage`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys

from pipeline.imaging.io.discover import is_scan_name
from pipeline.imaging.io.read import read_channels


class ScanReader(ImageReader):
    """`LoadImage(reader=ScanReader())` checks, inflates and verifies as every stage does.

    The file's fastest axis comes last, so that its memory is used as it is, where MONAI's own reader copies it into
    another order: the array is (Z, Y, X), and the affine has its columns in that order. Every voxel keeps its place
    in the world, which is all that `Orientation` and `Spacing` go by. Several files become channels.
    """

    def __init__(self, fill: float | None = None):
        super().__init__()
        self.fill = fill
        """Replaces NaN and infinite voxels, which are refused without it."""

    def verify_suffix(self, filename: Sequence[Path | str] | Path | str) -> bool:
        return all(is_scan_name(path) for path in as_paths(filename))

    def read(self, data: Sequence[Path | str] | Path | str) -> list[Path]:
        """The paths alone: `LoadImage` takes an error here for a hint to try its other readers."""
        return as_paths(data)

    def get_data(self, img: list[Path]) -> tuple[np.ndarray, dict[str, Any]]:
        """Array (Z, Y, X), or (C, Z, Y, X) of several files, and what a MetaTensor needs to know of it."""
        channels = read_channels(img, fill=self.fill)
        array = channels.stacked().transpose(0, 3, 2, 1)
        affine = channels.grid.affine[:, [2, 1, 0, 3]]
        has_channels = len(img) > 1
        return array if has_channels else array[0], {
            MetaKeys.AFFINE: affine,
            MetaKeys.ORIGINAL_AFFINE: affine.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.SPATIAL_SHAPE: np.array(array.shape[1:]),
            MetaKeys.ORIGINAL_CHANNEL_DIM: 0 if has_channels else float("nan"),
        }


def as_paths(filename: Sequence[Path | str] | Path | str) -> list[Path]:
    return [Path(filename)] if isinstance(filename, Path | str) else [Path(path) for path in filename]
