"""Pictures of a volume with evidence laid over it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.core.io import whole_file

VIEW_ALONG = dict.fromkeys("SI", "axial") | dict.fromkeys("AP", "coronal") | dict.fromkeys("LR", "sagittal")
DOWN_OR_RIGHT = "IPL"
"""Ends that are drawn at the bottom or to the right: feet below, in axial views the back, and the left as in
radiology, as if one looked from the feet; sagittal views face left."""


def draw_overlay(
    volume: NDArray, evidence: NDArray, *, spacing_mm: tuple[float, float, float], orientation: str, path: Path
) -> None:
    """Three planes of (D, H, W) arrays through the strongest evidence, as PNG, true to the scan's proportions.

    `orientation` says where the axes point, such as SPL.
    """
    point = np.unravel_index(evidence.argmax(), evidence.shape)
    low, high = np.percentile(volume, (1, 99.5))
    figure = Figure(figsize=(9, 3.3), layout="constrained")
    for axis, panel in enumerate(figure.subplots(1, 3)):
        view = plane_view(axis, spacing_mm, orientation)
        tones = {"vmin": low, "vmax": max(high, low + 1e-6)}
        panel.imshow(upright(volume, axis, point[axis], orientation), cmap="gray", **tones, **view)
        shade(panel, upright(evidence, axis, point[axis], orientation), view)
        panel.set_title(VIEW_ALONG[orientation[axis]], fontsize=9)
        panel.axis("off")
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def upright(volume: NDArray, axis: int, index: int, orientation: str) -> NDArray:
    """The plane at `index` of an axis as radiologists see it, whichever way the volume's axes run."""
    rows, columns = rows_and_columns(axis, orientation)
    plane = np.moveaxis(volume, (axis, rows, columns), (0, 1, 2))[index]
    flipped = [number for number, end in enumerate((rows, columns)) if orientation[end] not in DOWN_OR_RIGHT]
    return np.flip(plane, flipped)


def rows_and_columns(axis: int, orientation: str) -> tuple[int, int]:
    """The axes that run down and across the plane of a third: head to feet runs down, else front to back."""
    first, second = (other for other in range(3) if other != axis)
    runs_across = orientation[first] in "LR" or orientation[second] in "SI"
    return (second, first) if runs_across else (first, second)


def plane_view(axis: int, spacing_mm: Sequence[float], orientation: str) -> dict[str, object]:
    """How matplotlib's `imshow` has to draw the upright plane across an axis of a (D, H, W) volume."""
    rows, columns = rows_and_columns(axis, orientation)
    return {"aspect": spacing_mm[rows] / spacing_mm[columns], "origin": "upper"}


def shade(panel: Axes, evidence: NDArray, view: dict[str, object]) -> None:
    """Colour the places with evidence, the more the stronger."""
    panel.imshow(evidence, cmap="inferno", alpha=0.6 * evidence, vmin=0, vmax=1, **view)
