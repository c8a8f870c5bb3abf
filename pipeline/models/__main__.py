"""List the networks, and what each costs on a volume of a given size: `python -m pipeline.models --size 96 96 96`."""

import sys
from collections.abc import Sequence
from typing import Annotated

from pipeline.core import cli
from pipeline.core.errors import did_you_mean
from pipeline.models.build import (
    build_model,  # noqa: F401  (registers every name)
    learns,
)
from pipeline.models.cost import measure_cost
from pipeline.models.registry import MODELS, model_names
from pipeline.models.volume import MODES, supports_3d, volume_modes

COLUMNS = ("model", "on volumes", "parameters", "GMACs", "memory (MiB)", "volume modes")
ALIGNED = (str.ljust, str.ljust, str.rjust, str.rjust, str.rjust, str.ljust)


def models(
    names: Annotated[list[str], "models to list (default: all)"] = (),
    *,
    size: Annotated[tuple[int, int, int], "voxels along D, H and W"] = (96, 96, 96),
    in_channels: Annotated[int, "channels of the input"] = 1,
    num_classes: Annotated[int, "classes to predict"] = 2,
    volume: Annotated[str | None, "volume mode (default: the 3D network, or slicewise for a 2D one)"] = None,
) -> None:
    """List every model with its parameters, the multiply-accumulates of one forward pass, and its memory.

    Memory is that of the weights and of the activations that a training step keeps (one volume, float32).
    """
    if volume is not None and volume not in MODES:
        raise ValueError(f"--volume: unknown mode '{volume}'.{did_you_mean(volume, MODES)} Known: {', '.join(MODES)}.")
    settings = {"size": tuple(size), "in_channels": in_channels, "num_classes": num_classes}
    sys.stdout.write(as_table([COLUMNS, *(row_of(name, volume, **settings) for name in names or model_names())]))


def row_of(
    name: str, mode: str | None, *, size: tuple[int, int, int], in_channels: int, num_classes: int
) -> tuple[str, ...]:
    MODELS.get(name)  # reject an unknown name first
    if not learns(name):
        return (name, "3D", "fixed features", "", "", "")
    volume = mode or (None if supports_3d(name) else "slicewise")
    cost = measure_cost(name, size, in_channels=in_channels, num_classes=num_classes, volume=volume)
    return (
        name,
        volume or "3D",
        f"{cost.parameters:,}",
        f"{cost.macs / 1e9:.1f}",
        f"{cost.memory_bytes / 2**20:,.0f}",
        " ".join(volume_modes(name)),
    )


def as_table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows as aligned columns, numbers to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    aligned = [[align(cell, width) for cell, align, width in zip(row, ALIGNED, widths, strict=True)] for row in rows]
    return "".join("  ".join(cells).rstrip() + "\n" for cells in aligned)


if __name__ == "__main__":
    cli.run(models)
