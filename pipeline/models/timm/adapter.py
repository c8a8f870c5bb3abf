"""Any timm image model behind the contract of the networks here.

Axes: B batch, C channels, H W height, width, F features, K classes.
"""

from collections.abc import Callable, Mapping
from math import prod

import timm
from torch import Tensor, nn

from pipeline.models.layers import Size, check_input, classifier_layer, per_axis
from pipeline.models.network import Network, StageOutputs
from pipeline.models.pretrained.adapt import fit_positions
from pipeline.models.pretrained.sources import is_efficientnet_pytorch, rename_to_timm
from pipeline.models.registry import check_choice, register
from pipeline.models.timm.backbone import (
    ATTENTION_POOLS,
    GLOBAL_POOLS,
    NUM_STAGES,
    PROJECTIONS,
    as_map,
    build_attention_pool,
    build_projection,
    check_backbone,
    create_trunk,
    input_size_of,
    layer_name,
    map_size_of,
    stage_indices,
)
from pipeline.models.timm.param_groups import group_by_depth


@register("timm")
class TimmAdapter(Network):
    """`backbone` of timm, a pooling, a projection to `embed_dim` features, a head; 2D only, so without `spatial_dims`.

    `pooling` is the backbone's own (`native`), the mean (`avg`), attention with absolute (`abs_attn`) or rotary
    (`rot_attn`) positions, or `none`, which hands the unpooled features to a `head` of yours.
    `head` builds the last layer from (num_features, num_classes). `drop_rate` acts on the pooled features and
    inside an `mlp` projection. `input_size` is for backbones of one size only, and for absolute positions.
    """

    def __init__(
        self,
        *,
        backbone: str = "tf_efficientnet_lite0",
        in_channels: int = 1,
        num_classes: int = 2,
        pooling: str = "native",
        projection: str = "none",
        embed_dim: int | None = None,
        projection_bias: bool = False,
        head: Callable[[int, int], nn.Module] = classifier_layer,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        patch_drop_rate: float = 0.0,
        input_size: Size | None = None,
    ) -> None:
        super().__init__()
        check_choice("pooling", pooling, GLOBAL_POOLS)
        check_choice("projection", projection, PROJECTIONS)
        if pooling == "none" and (projection != "none" or (num_classes and head is classifier_layer)):
            raise ValueError("pooling 'none' leaves a map or tokens: give a head that takes them, and no projection")
        self.backbone, self.in_channels, self.build_head = backbone, in_channels, head
        size = None if input_size is None else per_axis(input_size, 2, "input_size")
        self.trunk = create_trunk(
            backbone,
            in_channels=in_channels,
            global_pool=GLOBAL_POOLS[pooling],
            input_size=size,
            drop_path_rate=drop_path_rate,
            patch_drop_rate=patch_drop_rate,
        )
        self.first_conv = f"trunk.{layer_name(self.trunk, 'first_conv')}"
        self.stage_indices = stage_indices(self.trunk, backbone)
        width = getattr(self.trunk, "head_hidden_size", self.trunk.num_features)
        self.num_features = embed_dim or width
        self.pool = None
        if pooling in ATTENTION_POOLS:
            map_size = map_size_of(self.trunk, backbone, size)
            self.pool = build_attention_pool(pooling, width, self.num_features, map_size)
        self.head_drop = nn.Dropout(drop_rate)
        pooled = width if self.pool is None else self.num_features
        self.projection = build_projection(
            projection, pooled, self.num_features, bias=projection_bias, drop_rate=drop_rate
        )
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.head = self.build_head(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> timm's features, a map or tokens."""
        self._check_input(x)
        return self.trunk.forward_features(x)

    def forward_stages(self, x: Tensor) -> StageOutputs:
        self._check_input(x)
        features, stages = self.trunk.forward_intermediates(x, indices=self.stage_indices, output_fmt="NCHW")
        # A network of three levels shows its last one twice.
        repeated = [stages[-1]] * (NUM_STAGES - len(stages))
        return StageOutputs((*stages, *repeated), self.forward_head(features))

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        pooled = self.trunk.forward_head(features, pre_logits=True)
        if self.pool is not None:
            pooled = self.pool(as_map(pooled, self.trunk))
        embedding = self.projection(self.head_drop(pooled))
        return embedding if pre_logits else self.head(embedding)

    def _check_input(self, x: Tensor) -> None:
        check_input(x, 2, self.in_channels)
        only_size = input_size_of(self.trunk)
        if only_size is not None and tuple(x.shape[2:]) != only_size:
            raise ValueError(
                f"timm model '{self.backbone}' takes inputs of {only_size} alone, got {tuple(x.shape[2:])}; "
                f"build it with input_size={tuple(x.shape[2:])}"
            )

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """As timm does it, by block or by stage, where batch norms count a batch again when they recompute it."""
        try:
            self.trunk.set_grad_checkpointing(enable)
        except AssertionError as error:
            raise ValueError(f"timm model '{self.backbone}': {error}; leave gradient checkpointing off") from error
        super().set_grad_checkpointing(enable)

    def layer_groups(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        """timm's groups, or stem and stages where it has none, then what the adapter adds."""
        pool = {} if self.pool is None else {"pool": [self.pool]}
        projection = {} if isinstance(self.projection, nn.Identity) else {"projection": [self.projection]}
        return {**group_by_depth(self.trunk), **pool, **projection, "head": [self.head]}

    def describe_groups(self) -> str:
        """The groups to lock by, one a line: place from the end, name, parameters."""
        groups = self.parameter_groups().items()
        lines = [f"{name} {sum(parameter.numel() for parameter in part):,}" for name, part in groups]
        return "\n".join(f"{len(lines) - index:3d} {line}" for index, line in enumerate(lines))

    def translate_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take timm's names or the EfficientNet-PyTorch package's; vision transformers' positions fit any grid."""
        if is_efficientnet_pytorch(weights) and hasattr(self.trunk, "conv_stem"):
            weights = rename_to_timm(weights, depths=[len(stage) for stage in self.trunk.blocks])
        if not any(name.startswith("trunk.") for name in weights):
            weights = self._place(weights)
        return self._fit_positions(weights)

    def _place(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        classifier = layer_name(self.trunk, "classifier")
        return {
            f"head{name.removeprefix(classifier)}" if name.startswith(f"{classifier}.") else f"trunk.{name}": value
            for name, value in weights.items()
        }

    def _fit_positions(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        own, given = getattr(self.trunk, "pos_embed", None), weights.get("trunk.pos_embed")
        grid = getattr(getattr(self.trunk, "patch_embed", None), "grid_size", None)
        if own is None or given is None or grid is None or own.shape == given.shape:
            return dict(weights)
        return {**weights, "trunk.pos_embed": fit_positions(given[0], own.shape[1] - prod(grid), 2, grid)[None]}


def pretrained_weights(backbone: str) -> dict[str, Tensor]:
    """timm's own pretrained tensors of a model, from its cache or the network."""
    check_backbone(backbone)
    return timm.create_model(backbone, pretrained=True).state_dict()
