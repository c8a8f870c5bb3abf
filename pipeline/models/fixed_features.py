"""The interface of networks without learned features: measures of a volume, and a linear head on them.

Axes: B batch, C channels, D H W depth height width, F features, K classes.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from pipeline.models.layers import check_input, classifier_layer
from pipeline.models.network import Network, StageOutputs


class FixedFeatures(Network):
    """Four groups of measures and a linear head, which `model.freeze` fits. Shape: (B, C, D, H, W) -> (B, K).

    A subclass fills `measure`. Its groups stand in place of stages, so that they are predicted, probed and audited as
    the stages of any network are.
    """

    def __init__(self, num_features: int, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.num_features = num_features
        self.reset_classifier(num_classes)

    def measure(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Four groups of features (B, F_i) of volumes (B, C, D, H, W)."""
        raise NotImplementedError

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> all features (B, F)."""
        check_input(x, 3, self.in_channels)
        return torch.cat(self.measure(x), dim=1)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        return features if pre_logits else self.head(features)

    def forward_stages(self, x: Tensor) -> StageOutputs:
        """Each group as a map of one token (B, F_i, 1, 1, 1), and the logits."""
        check_input(x, 3, self.in_channels)
        groups = self.measure(x)
        stages = tuple(rearrange(group, "b f -> b f 1 1 1") for group in groups)
        return StageOutputs(stages, self.head(torch.cat(groups, dim=1)))

    def stage_gradients(self, x: Tensor, class_index: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        raise ValueError(
            f"{type(self).__name__} measures the volume as a whole and has no maps; explain it with "
            "explanation.method=occlusion."
        )

    def reset_classifier(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.head = classifier_layer(self.num_features, num_classes)

    def layer_groups(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        return {"stem": [], "head": [self.head]}
