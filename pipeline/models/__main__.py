"""List the networks, and what each costs on a volume of a given size: `python -m pipeline.models --size 96 96 96`."""

import argparse
import sys
from collections.abc import Sequence

from pipeline.models.build import build_model  # noqa: F401  (registers every name)
from pipeline.models.cost import measure_cost
from pipeline.models.registry import MODELS, model_names
from pipeline.models.volume import MODES, supports_3d, volume_modes

COLUMNS = ("model", "on volumes", "parameters", "GMACs", "memory (MiB)", "volume modes")
ALIGNED = (str.ljust, str.ljust, str.rjust, str.rjust, str.rjust, str.ljust)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one row for each model."""
    options = parse(arguments)
    try:
        rows = [row_of(name, options) for name in options.names or model_names()]
    except ValueError as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(as_table([COLUMNS, *rows]))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.models",
        description="Every model with its parameters, the multiply-accumulates of one forward pass, and the memory of "
        "its weights and of the activations that a training step keeps (one volume, float32).",
    )
    parser.add_argument("names", nargs="*", metavar="MODEL", help="models to list (default: all)")
    parser.add_argument("--size", nargs=3, type=int, default=(96, 96, 96), metavar=("D", "H", "W"), help="voxels")
    parser.add_argument("--in-channels", type=int, default=1, metavar="C")
    parser.add_argument("--num-classes", type=int, default=2, metavar="K")
    parser.add_argument(
        "--volume", choices=tuple(MODES), help="volume mode (default: the 3D network, or slicewise for a 2D one)"
    )
    return parser.parse_args(arguments)


def row_of(name: str, options: argparse.Namespace) -> tuple[str, ...]:
    MODELS.get(name)  # reject an unknown name first
    volume = options.volume or (None if supports_3d(name) else "slicewise")
    cost = measure_cost(
        name, options.size, in_channels=options.in_channels, num_classes=options.num_classes, volume=volume
    )
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
    main()
