"""Load pretrained weights into a network: every difference is handled by name, or rejected.

Axes: O output channels, C input channels, S spatial, K classes.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from einops import rearrange, repeat
from torch import Tensor, cat
from torch.nn import functional as F

from pipeline.core.errors import did_you_mean
from pipeline.models.network import Network
from pipeline.models.pretrained.sources import read_weights
from pipeline.models.registry import check_choice

log = logging.getLogger(__name__)

Shapes = Mapping[str, torch.Size]


@dataclass(frozen=True)
class LoadReport:
    """What happened to the tensors of a checkpoint, by this network's names."""

    loaded: tuple[str, ...]
    """Every tensor that the network took, those of the next two fields included."""
    inflated: tuple[str, ...]
    """2D kernels made 3D."""
    adapted: tuple[str, ...]
    """First convolution, changed to another number of input channels."""
    replaced: tuple[str, ...]
    """Classifier of the file, left out because its number of classes differs."""
    allowed: tuple[str, ...]
    """Tensors that are missing, unexpected or of another shape, and allowed by name."""


def load_pretrained(
    network: Network, source: str | Path, *, allow_missing: Iterable[str] = (), inflation: str = "center"
) -> LoadReport:
    """Load `source` (see `read_weights`) into `network`, and report what was not a plain copy.

    2D kernels inflate into 3D ones, the first convolution adapts to the input channels, a classifier for other
    classes is left out. Anything else that is missing, unexpected or of another shape raises ValueError, unless
    its name or a parent's is in `allow_missing`.
    """
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    translated = network.translate_weights(read_weights(source))
    inflated = inflate_weights(translated, shapes, inflation)
    adapted = adapt_first_conv(inflated, shapes, f"{network.first_conv}.weight")
    weights = drop_other_classifier(adapted, shapes, network.classifier)
    replaced = tuple(name for name in adapted if name not in weights)
    fits = {name: value for name, value in weights.items() if shapes.get(name) == value.shape}
    differences = find_differences(weights, shapes, replaced)
    check_differences(differences, allow_missing, source, names=[*shapes, *weights])
    network.load_state_dict(fits, strict=False)
    report = LoadReport(
        loaded=tuple(fits),
        inflated=tuple(name for name in fits if inflated[name] is not translated[name]),
        adapted=tuple(name for name in fits if adapted[name] is not inflated[name]),
        replaced=replaced,
        allowed=tuple(differences),
    )
    log.info("%s: %s", source, describe(report))
    return report


def adapt_first_conv(weights: Mapping[str, Tensor], shapes: Shapes, name: str) -> dict[str, Tensor]:
    """Change the kernel (O, C, *S) called `name` to the network's number of input channels.

    Each new channel gets the mean of the old channels times old / new, so that an image repeated over all channels
    gives the same response as before. For one channel that is the sum.
    """
    adapted = dict(weights)
    old, shape = weights.get(name), shapes.get(name)
    if old is not None and shape is not None and old.shape[1:2] != shape[1:2] and old.shape[2:] == shape[2:]:
        adapted[name] = repeat(old.mean(dim=1), "o ... -> o c ...", c=shape[1]) * (old.shape[1] / shape[1])
    return adapted


def drop_other_classifier(weights: Mapping[str, Tensor], shapes: Shapes, classifier: str) -> dict[str, Tensor]:
    """Leave out the file's last layer if it is for another number of classes than the network's."""
    own = {name for name in weights if is_under(name, classifier)}
    if all(shapes.get(name) == weights[name].shape for name in own):
        return dict(weights)
    return {name: value for name, value in weights.items() if name not in own}


def find_differences(weights: Mapping[str, Tensor], shapes: Shapes, replaced: Iterable[str]) -> dict[str, str]:
    """How each tensor that does not fit differs from the network's, by name."""
    differences = {}
    for name, shape in shapes.items():
        # Older files lack these counters, and no forward pass reads them.
        if name not in weights and name not in replaced and not name.endswith("num_batches_tracked"):
            differences[name] = "missing"
        elif name in weights and weights[name].shape != shape:
            differences[name] = f"shape {tuple(weights[name].shape)}, expected {tuple(shape)}"
    differences.update({name: "unexpected" for name in weights if name not in shapes})
    return differences


def check_differences(
    differences: Mapping[str, str], allowed: Iterable[str], source: str | Path, names: Iterable[str]
) -> None:
    """Reject differences that no name in `allowed` covers, and allowed names that are not in `names`."""
    allowed, names = tuple(allowed), tuple(names)
    for parent in allowed:
        if not any(is_under(name, parent) for name in names):
            parents = {".".join(name.split(".")[:end]) for name in names for end in range(1, name.count(".") + 2)}
            raise ValueError(f"allow_missing: nothing is called '{parent}'.{did_you_mean(parent, parents)}")
    rejected = [
        f"{name}: {what}" for name, what in differences.items() if not any(is_under(name, parent) for parent in allowed)
    ]
    if rejected:
        raise ValueError(
            f"{source}: {len(rejected)} tensors do not fit the network; if that is meant, name them or a parent in "
            f"allow_missing:\n  " + "\n  ".join(rejected)
        )


def is_under(name: str, parent: str) -> bool:
    """Whether `name` is `parent` or inside it, by dots."""
    return name == parent or name.startswith(f"{parent}.")


def describe(report: LoadReport) -> str:
    """One line for the log."""
    parts = [f"{len(report.loaded)} tensors loaded"]
    if report.inflated:
        parts.append(f"{len(report.inflated)} kernels inflated to 3D")
    for what in ("adapted", "replaced", "allowed"):
        if names := getattr(report, what):
            parts.append(f"{what}: {', '.join(names)}")
    return "; ".join(parts)


INFLATIONS = ("center", "mean")
# Bicubic with antialiasing is what timm resizes with, so that its checkpoints behave alike at other sizes.
# Torch has no cubic kernel for volumes.
RESIZING = {2: {"mode": "bicubic", "antialias": True}, 3: {"mode": "trilinear"}}
POSITIONS_TO_MAP = {2: "(h w) f -> 1 f h w", 3: "(d h w) f -> 1 f d h w"}


def inflate_kernel(weight: Tensor, depth: int, inflation: str = "center") -> Tensor:
    """A 2D kernel (O, C, H, W) as a 3D one (O, C, D, H, W) that does the same on a volume constant along depth.

    `center` puts it in the middle slice and zeros elsewhere: exact up to the border (arXiv:2103.15691, eq. 9).
    `mean` repeats it, divided by `depth` (I3D, arXiv:1705.07750): exact where the kernel stays inside the volume.
    """
    check_choice("inflation", inflation, INFLATIONS)
    if inflation == "mean":
        return repeat(weight, "o c h w -> o c d h w", d=depth) / depth
    inflated = weight.new_zeros(*weight.shape[:2], depth, *weight.shape[2:])
    inflated[:, :, depth // 2] = weight
    return inflated


def inflate_weights(
    weights: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], inflation: str = "center"
) -> dict[str, Tensor]:
    """Inflate the 2D kernels among `weights` for which `shapes`, by the same names, has a 3D one."""
    inflated = {}
    for name, weight in weights.items():
        shape = shapes.get(name, weight.shape)
        is_kernel = weight.dim() == 4 and len(shape) == 5
        inflated[name] = inflate_kernel(weight, shape[2], inflation) if is_kernel else weight
    return inflated


def resize_positions(positions: Tensor, grid: Sequence[int], new_grid: Sequence[int]) -> Tensor:
    """Interpolate positions (P + N, F) learned on `grid` to `new_grid`; the P prefix tokens stay as they are."""
    if tuple(grid) == tuple(new_grid):
        return positions
    num_prefix = len(positions) - prod(grid)
    lengths = dict(zip("dhw"[-len(grid) :], grid, strict=True))
    on_grid = rearrange(positions[num_prefix:], POSITIONS_TO_MAP[len(grid)], **lengths)
    # torch has no half-precision kernel for this, and the positions are few.
    resized = F.interpolate(on_grid.float(), size=tuple(new_grid), align_corners=False, **RESIZING[len(grid)])
    return cat([positions[:num_prefix], rearrange(resized[0], "f ... -> (...) f").to(positions.dtype)])


def fit_positions(positions: Tensor, num_prefix: int, trained_dims: int, grid: Sequence[int]) -> Tensor:
    """Published positions (P + N, F), learned on a square or cube, for another `grid`.

    Positions of an image network are first resized within the slice and then repeated along depth.
    """
    num_positions = len(positions) - num_prefix
    side = round(num_positions ** (1 / trained_dims))
    if side**trained_dims != num_positions or trained_dims > len(grid):
        raise ValueError(
            f"position embeddings: expected a square or cubic grid of at most {len(grid)} dimensions and "
            f"{num_prefix} more tokens, got {len(positions)} rows trained in {trained_dims}D"
        )
    planar = resize_positions(positions, (side,) * trained_dims, grid[-trained_dims:])
    depth = prod(grid[:-trained_dims])
    return cat([planar[:num_prefix], repeat(planar[num_prefix:], "n f -> (d n) f", d=depth)])
