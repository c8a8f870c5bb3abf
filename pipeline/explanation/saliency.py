"""Attribution: how much each place of a volume speaks for a class.

Axes: B batch, C channels, D H W depth height width, K classes.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.core.registry import Registry
from pipeline.models import Network

SMALLEST_MAP = 4
"""Class activation maps are of the deepest stage with this many tokens along every axis; fewer say little of where."""
PATCHES_AN_AXIS = 6
Method = Callable[[Network, Tensor, int], Tensor]
"""(network, volume (1, C, D, H, W), class index) -> evidence (D, H, W) in 0..1."""


@dataclass(frozen=True)
class ExplanationMethod:
    """A method that `explanation.method` can name."""

    name: str
    function: Method
    title: str


METHODS: Registry[ExplanationMethod] = Registry("explanation method", ExplanationMethod)


@METHODS.register("gradcam", title="Grad-CAM")
def gradcam(network: Network, volume: Tensor, class_index: int) -> Tensor:
    """Grad-CAM (arXiv:1610.02391) of one volume (1, C, D, H, W) -> (D, H, W) in 0..1.

    All 0 if nothing speaks for the class.
    """
    stage, slopes = deepest_stage(network, volume, class_index)
    return on_volume(slopes.mean((1, 2, 3), keepdim=True) * stage, volume)


@METHODS.register("hirescam", title="HiResCAM")
def hirescam(network: Network, volume: Tensor, class_index: int) -> Tensor:
    """HiResCAM (arXiv:2011.08891), as `gradcam`: each place is weighed by its own slope, not by its channel's mean.

    Of a linear head on the map it is what each place adds to the logit.
    """
    stage, slopes = deepest_stage(network, volume, class_index)
    return on_volume(slopes * stage, volume)


def on_volume(contributions: Tensor, volume: Tensor) -> Tensor:
    """What channels add at each place of a stage's map (C, d, h, w), on the volume's grid."""
    evidence = contributions.sum(0).relu()
    return to_unit_range(nn.functional.interpolate(evidence[None, None], volume.shape[2:], mode="trilinear")[0, 0])


def deepest_stage(network: Network, volume: Tensor, class_index: int) -> tuple[Tensor, Tensor]:
    """The map (C, d, h, w) of the stage that is looked at, and the class's slope there."""
    with torch.enable_grad():
        stages, slopes = network.stage_gradients(volume.requires_grad_(), class_index)
    index = deepest_map(stages, slopes)
    return stages[index][0].detach(), slopes[index][0]


def deepest_map(stages: tuple[Tensor, ...], slopes: tuple[Tensor, ...]) -> int:
    """The last stage that the class depends on and whose map still says where; the first where none does."""
    used = [index for index, slope in enumerate(slopes) if slope.any()]
    fine = [index for index in used if min(stages[index].shape[2:]) >= SMALLEST_MAP]
    return fine[-1] if fine else 0


@METHODS.register("occlusion", title="Occlusion by patches")
@torch.inference_mode()
def occlusion(network: Network, volume: Tensor, class_index: int) -> Tensor:
    """How much the class's logit falls when a patch is set to the volume's mean (arXiv:1311.2901).

    One volume (1, C, D, H, W) -> map (D, H, W) in 0..1.
    """
    whole = network(volume)[0, class_index]
    drops = torch.zeros(volume.shape[2:], device=volume.device)
    for patch in patches(volume.shape[2:]):
        hidden = volume.clone()
        hidden[:, :, *patch] = volume.mean()
        drops[patch] = whole - network(hidden)[0, class_index]
    return to_unit_range(drops.relu())


def patches(shape: torch.Size) -> list[tuple[slice, ...]]:
    """Boxes of a sixth of each axis that tile the volume."""
    sizes = [max(1, -(-length // PATCHES_AN_AXIS)) for length in shape]
    axes = [
        [slice(start, start + size) for start in range(0, length, size)]
        for length, size in zip(shape, sizes, strict=True)
    ]
    return list(itertools.product(*axes))


def to_unit_range(evidence: Tensor) -> Tensor:
    """Divide by the largest value; a map of zeros stays one."""
    largest = evidence.max()
    return evidence / largest if largest > 0 else evidence
