"""Several files of one scan as its channels, such as T1 and FLAIR on one grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.scans.checking.affine import corner_distance
from pipeline.scans.checking.codes import Findings
from pipeline.scans.formats.reading import Scan, read_scan

TOLERANCE_VOXELS = 0.05
"""How far two channels' grids may lie apart at any corner."""


@dataclass(frozen=True)
class Channels:
    """Volumes on one grid."""

    array: np.ndarray
    """(C, X, Y, Z), axes in the files' own order; X is fastest in memory."""
    affine: np.ndarray
    """(4, 4) float64, voxel indices to RAS+ world coordinates in mm."""


def read_channels(
    paths: Sequence[Path | None], *, missing: Literal["refuse", "zero"] = "refuse", fill: float | None = None
) -> Channels:
    """Read one file a channel, in order; they must lie on one grid.

    A `None` is a channel that was not acquired: refused, or with `missing="zero"` a channel of zeros. Then as many
    channels again follow that are 1 where a channel is there and 0 where it is not, so that a network can tell.
    Raises `ScanProblem` naming the file that is missing or does not fit.
    """
    present = [path for path in paths if path is not None]
    if not present:
        raise ValueError("no channel of the scan has a file, expected one at least.")
    if missing == "refuse" and len(present) < len(paths):
        absent = ", ".join(str(channel) for channel, path in enumerate(paths) if path is None)
        Findings(present[0]).reject("NII-CHANNEL-MISSING", f"no file for channel {absent} of {len(paths)}")
    scans = [read_scan(path, fill) if path is not None else None for path in paths]
    first = next(scan for scan in scans if scan is not None)
    for scan in scans:
        if scan is not None:
            refuse_other_grid(scan, first)
    return Channels(stack(scans, first.array.shape, with_presence=missing == "zero"), first.affine)


def refuse_other_grid(scan: Scan, first: Scan) -> None:
    findings = Findings(scan.path)
    if scan.array.shape != first.array.shape:
        findings.reject("NII-CHANNEL-GRID", f"shape {scan.array.shape}, that of {first.path.name} {first.array.shape}")
    distance = corner_distance(scan.affine, first.affine, first.array.shape)
    if distance > TOLERANCE_VOXELS * min(first.spacing_mm):
        findings.reject("NII-CHANNEL-GRID", f"corners up to {distance:.3g} mm from those of {first.path.name}")


def stack(scans: list[Scan | None], shape: tuple[int, int, int], with_presence: bool) -> np.ndarray:
    """(C, X, Y, Z), each channel in its file's memory order; a single one is not copied."""
    if len(scans) == 1 and not with_presence:
        return scans[0].array[None]
    blank = np.zeros(shape[::-1], np.uint8)
    channels = [blank if scan is None else scan.array.T for scan in scans]
    if with_presence:
        channels += [np.full_like(blank, scan is not None) for scan in scans]
    return np.stack(channels).transpose(0, 3, 2, 1)
