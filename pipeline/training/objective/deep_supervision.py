"""Deep supervision: a classifier on each stage, so that early layers get a gradient of their own.

Axes: B batch, C channels, S spatial, K classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.models.layers import classifier_layer, global_mean
from pipeline.models.network import Network, StageOutputs
from pipeline.training.objective.losses import Loss


class StageClassifiers(nn.Module):
    """A linear layer on the mean of each stage's map that has weight; used in training alone.

    `channels` are the C_i of the four stages, `weights` their shares beside the network's own logits, which have 1.
    """

    def __init__(self, channels: Sequence[int], num_classes: int, weights: Sequence[float]) -> None:
        super().__init__()
        self.weights = tuple(weights)
        self.heads = nn.ModuleList(
            classifier_layer(width, num_classes) if weight else nn.Identity()
            for width, weight in zip(channels, weights, strict=True)
        )

    def loss(self, outputs: StageOutputs, targets: Tensor, loss: Loss) -> Tensor:
        """Weighted mean of the loss of the network's logits and of each stage's."""
        total = loss(outputs.logits, targets)
        for stage, head, weight in zip(outputs.stages, self.heads, self.weights, strict=True):
            if weight:
                total = total + weight * loss(head(global_mean(stage)), targets)
        return total / (1 + sum(self.weights))


@torch.no_grad()
def stage_channels(network: Network, shape: Sequence[int]) -> list[int]:
    """Channels of the four stage maps, from one pass of an empty volume of `shape` (C, D, H, W)."""
    was_training = network.training
    device = next(network.parameters()).device
    stages = network.eval().forward_stages(torch.zeros(1, *shape, device=device)).stages
    network.train(was_training)
    return [stage.shape[1] for stage in stages]
