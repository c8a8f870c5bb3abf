"""Pictures of a volume with evidence laid over it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.files import whole_file

VIEW_ALONG = dict.fromkeys("SI", "axial") | dict.fromkeys("AP", "coronal") | dict.fromkeys("LR", "sagittal")


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
        panel.imshow(volume.take(point[axis], axis), cmap="gray", vmin=low, vmax=max(high, low + 1e-6), **view)
        shade(panel, evidence.take(point[axis], axis), view)
        panel.set_title(VIEW_ALONG[orientation[axis]], fontsize=9)
        panel.axis("off")
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def plane_view(axis: int, spacing_mm: Sequence[float], orientation: str) -> dict[str, object]:
    """How matplotlib's `imshow` has to draw the plane across `axis` of a (D, H, W) volume."""
    rows, columns = (other for other in range(3) if other != axis)
    # Where rows run towards the head, the first one is drawn at the bottom.
    origin = "lower" if orientation[rows] == "S" else "upper"
    return {"aspect": spacing_mm[rows] / spacing_mm[columns], "origin": origin}


def shade(panel: Axes, evidence: NDArray, view: dict[str, object]) -> None:
    """Colour the places with evidence, the more the stronger."""
    panel.imshow(evidence, cmap="inferno", alpha=0.6 * evidence, vmin=0, vmax=1, **view)
