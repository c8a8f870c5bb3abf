"""Images of a volume with an attribution map over it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.core.io import whole_file

VIEW_ALONG = dict.fromkeys("SI", "axial") | dict.fromkeys("AP", "coronal") | dict.fromkeys("LR", "sagittal")
DOWN_OR_RIGHT = "IPL"
"""Directions that are drawn downward or to the right, as in radiology: inferior or posterior is down, and the
patient's left is on the right; sagittal views face left."""


def draw_overlay(
    volume: NDArray, evidence: NDArray, *, spacing_mm: tuple[float, float, float], orientation: str, path: Path
) -> None:
    """Write a PNG with the three planes of (D, H, W) arrays through the strongest evidence, in true proportions.

    `orientation` names the directions of the axes, such as SPL.
    """
    point = np.unravel_index(evidence.argmax(), evidence.shape)
    figure = Figure(figsize=(9, 3.3), layout="constrained")
    for axis, panel in enumerate(figure.subplots(1, 3)):
        view = plane_view(axis, spacing_mm, orientation)
        panel.imshow(upright(volume, axis, point[axis], orientation), cmap="gray", **gray_range(volume), **view)
        draw_evidence(panel, upright(evidence, axis, point[axis], orientation), view)
        panel.set_title(VIEW_ALONG[orientation[axis]], fontsize=9)
        panel.axis("off")
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def gray_range(volume: NDArray) -> dict[str, float]:
    """The range of `imshow` for a volume: from its 1st to its 99.5th percentile."""
    low, high = np.percentile(volume, (1, 99.5))
    return {"vmin": low, "vmax": max(high, low + 1e-6)}


def upright(volume: NDArray, axis: int, index: int, orientation: str) -> NDArray:
    """The plane at `index` of an axis as radiologists view it, for any orientation of the volume."""
    rows, columns = rows_and_columns(axis, orientation)
    plane = np.moveaxis(volume, (axis, rows, columns), (0, 1, 2))[index]
    flipped = [number for number, end in enumerate((rows, columns)) if orientation[end] not in DOWN_OR_RIGHT]
    return np.flip(plane, flipped)


def rows_and_columns(axis: int, orientation: str) -> tuple[int, int]:
    """The vertical and horizontal axes of the plane across `axis`; superior-inferior, if in the plane, is vertical."""
    first, second = (other for other in range(3) if other != axis)
    runs_across = orientation[first] in "LR" or orientation[second] in "SI"
    return (second, first) if runs_across else (first, second)


def plane_view(axis: int, spacing_mm: Sequence[float], orientation: str) -> dict[str, object]:
    """Options of `imshow` for the upright plane across an axis of a (D, H, W) volume."""
    rows, columns = rows_and_columns(axis, orientation)
    return {"aspect": spacing_mm[rows] / spacing_mm[columns], "origin": "upper"}


def draw_evidence(panel: Axes, evidence: NDArray, view: dict[str, object]) -> None:
    """Color the voxels with evidence, stronger evidence more opaque."""
    panel.imshow(evidence, cmap="inferno", alpha=0.6 * evidence, vmin=0, vmax=1, **view)
