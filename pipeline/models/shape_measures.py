"""The shape of a mask as a network: `imaging/shape.py` measures it, and a linear head decides.

Axes: B batch, C channels, D H W depth height width, F features.
"""

import math

import numpy as np
import torch
from torch import Tensor

from pipeline.imaging.shape import measure_shape, shape_measure_names
from pipeline.models.fixed_features import FixedFeatures
from pipeline.models.registry import MODELS


@MODELS.register("shape_measures")
class ShapeMeasures(FixedFeatures):
    """Size, thickness, moments and surface of the mask in the first channel, in millimeters.

    `spacing_mm` is that of the volume, along (D, H, W); a training takes it from its plan.
    """

    def __init__(
        self, *, in_channels: int = 1, num_classes: int = 2, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ) -> None:
        self.feature_names = tuple(name for group in shape_measure_names() for name in group)
        super().__init__(len(self.feature_names), in_channels=in_channels, num_classes=num_classes)
        if len(spacing_mm) != 3 or not all(math.isfinite(mm) and mm > 0 for mm in spacing_mm):
            raise ValueError(f"spacing_mm must be three positive numbers along (D, H, W), got {spacing_mm}")
        self.spacing_mm = tuple(float(mm) for mm in spacing_mm)

    def measure(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        masks = x[:, 0].detach().float().cpu().numpy()
        measured = [measure_shape(mask, self.spacing_mm) for mask in masks]
        first, second, third, fourth = (
            torch.from_numpy(np.array([list(one.values()) for one in group], np.float32)).to(x.device)
            for group in zip(*measured, strict=True)
        )
        return first, second, third, fourth

    def extra_repr(self) -> str:
        return f"spacing_mm={self.spacing_mm}"
