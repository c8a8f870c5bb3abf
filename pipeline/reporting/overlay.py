"""Pictures of a volume with evidence laid over it."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.files import whole_file

VIEWS = ("axial", "coronal", "sagittal")


def draw_overlay(volume: NDArray, evidence: NDArray, path: Path) -> None:
    """Three planes of (D, H, W) arrays through the strongest evidence, as PNG; D runs from feet to head."""
    point = np.unravel_index(evidence.argmax(), evidence.shape)
    low, high = np.percentile(volume, (1, 99.5))
    figure = Figure(figsize=(9, 3.3), layout="constrained")
    for axis, (panel, view) in enumerate(zip(figure.subplots(1, 3), VIEWS, strict=True)):
        # Seen from the front or the side the head is up, so D is drawn from the bottom.
        origin = "upper" if axis == 0 else "lower"
        panel.imshow(volume.take(point[axis], axis), cmap="gray", vmin=low, vmax=max(high, low + 1e-6), origin=origin)
        shade = evidence.take(point[axis], axis)
        panel.imshow(shade, cmap="inferno", alpha=0.55 * shade, vmin=0, vmax=1, origin=origin)
        panel.set_title(view, fontsize=9)
        panel.axis("off")
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
