"""Load pretrained weights into a network: every difference is handled by name, or rejected.

Axes: O output channels, C input channels, S spatial, K classes.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import repeat
from torch import Tensor

from pipeline.core.errors import did_you_mean
from pipeline.models.network import Network
from pipeline.models.pretrained.adapt import inflate_weights
from pipeline.models.pretrained.sources import read_weights

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
