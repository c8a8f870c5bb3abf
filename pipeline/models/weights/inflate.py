"""2D weights in 3D networks.

Axes: O output channels, C input channels, D H W kernel depth, height, width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.core.errors import did_you_mean

INFLATIONS = ("centre", "mean")


def inflate_kernel(weight: Tensor, depth: int, inflation: str = "centre") -> Tensor:
    """A 2D kernel (O, C, H, W) as a 3D one (O, C, D, H, W) that does the same on a volume constant along depth.

    `centre` puts it in the middle slice and zeros elsewhere: exact up to the border (arXiv:2103.15691, eq. 9).
    `mean` repeats it, divided by `depth` (I3D, arXiv:1705.07750): exact where the kernel stays inside the volume.
    """
    if inflation == "mean":
        return weight.unsqueeze(2).expand(-1, -1, depth, -1, -1) / depth
    if inflation == "centre":
        inflated = weight.new_zeros(*weight.shape[:2], depth, *weight.shape[2:])
        inflated[:, :, depth // 2] = weight
        return inflated
    raise ValueError(
        f"unknown inflation '{inflation}'.{did_you_mean(inflation, INFLATIONS)} Known: {', '.join(INFLATIONS)}."
    )


def inflate_weights(
    weights: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], inflation: str = "centre"
) -> dict[str, Tensor]:
    """Inflate the 2D kernels among `weights` where `shapes`, by the same names, has a 3D one; the rest as it is."""
    inflated = {}
    for name, weight in weights.items():
        shape = shapes.get(name, weight.shape)
        is_kernel = weight.dim() == 4 and len(shape) == 5
        inflated[name] = inflate_kernel(weight, shape[2], inflation) if is_kernel else weight
    return inflated
