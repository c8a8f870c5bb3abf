"""Several networks with frozen features under one linear head: a stack that predicts as one network does.

Axes: B batch, C channels, D H W depth height width, F features of all members, K classes.
"""

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from pipeline.models.fixed_features import FixedFeatures
from pipeline.models.layers import classifier_layer
from pipeline.models.network import Network, StageOutputs


class Stack(Network):
    """Members side by side; the head reads their embeddings joined. Shape: (B, C, D, H, W) -> (B, K).

    Each member was built with `num_classes=0`. The head holds each member's own linear classifier times the member's
    weight, so the logits are the weighted sum of theirs; `member_weights` (M,) are kept to be shown. Stage maps are
    those of the first member that has maps.
    """

    def __init__(self, members: Mapping[str, Network], *, num_classes: int) -> None:
        super().__init__()
        if len(members) < 2:
            raise ValueError(f"a stack needs two members or more, got {', '.join(members) or 'none'}")
        self.members = nn.ModuleDict(members)
        self.num_features = sum(member.num_features for member in members.values())
        self.register_buffer("member_weights", torch.full((len(members),), 1 / len(members)))
        self.reset_classifier(num_classes)

    @property
    def widths(self) -> list[int]:
        """Features of each member, in the order of the joined embedding."""
        return [member.num_features for member in self.members.values()]

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> all embeddings (B, F)."""
        return torch.cat([self._embed(name, x) for name in self.members], dim=1)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        return features if pre_logits else self.head(features)

    def forward_stages(self, x: Tensor) -> StageOutputs:
        """Stage maps of the member that is mapped, and the logits of all."""
        outputs = {
            name: member.forward_stages(x) if name == self.mapped_member else StageOutputs((), self._embed(name, x))
            for name, member in self.members.items()
        }
        logits = self.head(torch.cat([output.logits for output in outputs.values()], dim=1))
        return StageOutputs(outputs[self.mapped_member].stages, logits)

    def stage_gradients(self, x: Tensor, class_index: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Of the member that is mapped: the other members' logits do not depend on its maps."""
        member = deepcopy(self.members[self.mapped_member])
        member.reset_classifier(self.num_classes)
        start = sum(self.widths[: list(self.members).index(self.mapped_member)])
        with torch.no_grad():
            weight = self.head.weight[:, start : start + member.num_features]
            member.get_submodule(member.classifier).weight.copy_(weight)
        return member.stage_gradients(x, class_index)

    @property
    def active_members(self) -> list[str]:
        """Members with a weight; all of them before any weight is known."""
        if self.member_weights.is_meta:
            return list(self.members)
        return [name for name, weight in zip(self.members, self.member_weights.tolist(), strict=True) if weight]

    @property
    def mapped_member(self) -> str:
        """The first active member whose stages are maps; the first active one where none has any."""
        active = self.active_members
        mapped = (name for name in active if not isinstance(self.members[name], FixedFeatures))
        return next(mapped, active[0])

    def _embed(self, name: str, x: Tensor) -> Tensor:
        """The embedding (B, F_m) of a member; zeros, which its part of the head ignores, of one that was left out."""
        member = self.members[name]
        return member(x) if name in self.active_members else x.new_zeros(len(x), member.num_features)

    def member_logits(self, embedding: Tensor) -> dict[str, Tensor]:
        """What each member adds to the logits (B, K), without the common bias, of embeddings (B, F)."""
        parts = zip(embedding.split(self.widths, dim=1), self.head.weight.split(self.widths, dim=1), strict=True)
        return {name: part @ weight.T for name, (part, weight) in zip(self.members, parts, strict=True)}

    def reset_classifier(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.head = classifier_layer(self.num_features, num_classes)

    def layer_groups(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        return {"stem": [], "members": list(self.members.values()), "head": [self.head]}
