"""Attribution: how much each place of a volume speaks for a class.

Axes: B batch, C channels, D H W depth height width, K classes.
"""

import itertools

import torch
from torch import Tensor, nn

SMALLEST_MAP = 4
"""Grad-CAM looks at the deepest stage with this many tokens along every axis; below it says little about where."""
PATCHES_AN_AXIS = 6


def gradcam(network: nn.Module, volume: Tensor, class_index: int) -> Tensor:
    """Grad-CAM (arXiv:1610.02391) of one volume (1, C, D, H, W) -> map (D, H, W) in 0..1; all 0 if nothing speaks for it."""
    with torch.enable_grad():
        stages, logits = network.forward_stages(volume.requires_grad_())
        maps = deepest_map(stages)
        (gradient,) = torch.autograd.grad(logits[0, class_index], maps)
    channel_weights = gradient.flatten(2).mean(2)[0]
    evidence = torch.einsum("c,c...->...", channel_weights, maps[0].detach()).relu()
    return to_unit_range(nn.functional.interpolate(evidence[None, None], volume.shape[2:], mode="trilinear")[0, 0])


def deepest_map(stages: tuple[Tensor, ...]) -> Tensor:
    """The last stage map that still says where; the first where none does."""
    fine = [maps for maps in stages if min(maps.shape[2:]) >= SMALLEST_MAP]
    return fine[-1] if fine else stages[0]


@torch.inference_mode()
def occlusion(network: nn.Module, volume: Tensor, class_index: int) -> Tensor:
    """How much the class's logit falls when a patch is set to the volume's mean (arXiv:1311.2901).

    One volume (1, C, D, H, W) -> map (D, H, W) in 0..1; patches overlap by half.
    """
    whole = network(volume)[0, class_index]
    drops = torch.zeros(volume.shape[2:], device=volume.device)
    visits = torch.zeros_like(drops)
    for patch in patches(volume.shape[2:]):
        hidden = volume.clone()
        hidden[:, :, *patch] = volume.mean()
        drops[patch] += whole - network(hidden)[0, class_index]
        visits[patch] += 1
    return to_unit_range((drops / visits).relu())


def patches(shape: torch.Size) -> list[tuple[slice, ...]]:
    """Boxes of a sixth of each axis, half overlapping, that cover the volume."""
    axes = []
    for length in shape:
        size = max(1, -(-length // PATCHES_AN_AXIS))
        step = max(1, size // 2)
        axes.append([slice(start, start + size) for start in range(0, length, step)])
    return list(itertools.product(*axes))


def to_unit_range(evidence: Tensor) -> Tensor:
    """Divide by the largest value; a map of zeros stays one."""
    largest = evidence.max()
    return evidence / largest if largest > 0 else evidence


METHODS = {"gradcam": gradcam, "occlusion": occlusion}
