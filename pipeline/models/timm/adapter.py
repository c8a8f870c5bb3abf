"""Any timm image model with the interface of `Network`.

Axes: B batch, C channels, H W height, width, F features, K classes.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from math import prod

from torch import Tensor, nn

from pipeline.models.layers import Size, check_input, classifier_layer, per_axis
from pipeline.models.network import Network, StageOutputs
from pipeline.models.pretrained.load import fit_positions
from pipeline.models.pretrained.sources import WEIGHT_SOURCES
from pipeline.models.registry import MODELS, check_choice
from pipeline.models.timm.backbone import (
    ATTENTION_POOLS,
    GLOBAL_POOLS,
    NUM_STAGES,
    PROJECTIONS,
    as_map,
    build_attention_pool,
    build_projection,
    check_backbone,
    create_backbone,
    group_by_depth,
    input_size_of,
    layer_name,
    map_size_of,
    stage_indices,
)
from pipeline.models.timm.dinov2 import is_dinov2, rename_dinov2


@MODELS.register("timm")
class TimmAdapter(Network):
    """A timm model, a pooling, a projection to `embed_dim` features and a head; 2D only, so without `spatial_dims`.

    `backbone` is the model's name. `pooling` is the model's own (`native`), the mean (`avg`), attention with absolute
    (`abs_attn`) or rotary (`rot_attn`) positions, or `none`, which gives the unpooled features to a custom `head`.
    `head` builds the last layer from (num_features, num_classes). `drop_rate` acts on the pooled features and
    inside an `mlp` projection. `input_size` is for models of one size only, and for absolute positions.
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
        self.backbone_name, self.in_channels, self.build_head = backbone, in_channels, head
        size = None if input_size is None else per_axis(input_size, 2, "input_size")
        self.backbone = create_backbone(
            backbone,
            in_channels=in_channels,
            global_pool=GLOBAL_POOLS[pooling],
            input_size=size,
            drop_path_rate=drop_path_rate,
            patch_drop_rate=patch_drop_rate,
        )
        self.first_conv = f"backbone.{layer_name(self.backbone, 'first_conv')}"
        self.stage_indices = stage_indices(self.backbone, backbone)
        width = getattr(self.backbone, "head_hidden_size", self.backbone.num_features)
        self.num_features = embed_dim or width
        self.pool = None
        if pooling in ATTENTION_POOLS:
            map_size = map_size_of(self.backbone, backbone, size)
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
        return self.backbone.forward_features(x)

    def forward_stages(self, x: Tensor) -> StageOutputs:
        self._check_input(x)
        features, stages = self.backbone.forward_intermediates(x, indices=self.stage_indices, output_fmt="NCHW")
        # A network of three levels repeats the last one.
        repeated = [stages[-1]] * (NUM_STAGES - len(stages))
        return StageOutputs((*stages, *repeated), self.forward_head(features))

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        pooled = self.backbone.forward_head(features, pre_logits=True)
        if self.pool is not None:
            pooled = self.pool(as_map(pooled, self.backbone))
        embedding = self.projection(self.head_drop(pooled))
        return embedding if pre_logits else self.head(embedding)

    def _check_input(self, x: Tensor) -> None:
        check_input(x, 2, self.in_channels)
        only_size = input_size_of(self.backbone)
        if only_size is not None and tuple(x.shape[2:]) != only_size:
            raise ValueError(
                f"timm model '{self.backbone_name}' takes inputs of {only_size} only, got {tuple(x.shape[2:])}; "
                f"build it with input_size={tuple(x.shape[2:])}"
            )

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """timm's own, by block or by stage; its batch norms count a recomputed batch twice."""
        try:
            self.backbone.set_grad_checkpointing(enable)
        except AssertionError as error:
            raise ValueError(f"timm model '{self.backbone_name}': {error}; leave gradient checkpointing off") from error
        super().set_grad_checkpointing(enable)

    def layer_groups(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        """timm's groups, or stem and stages where it has none, then the adapter's own layers."""
        pool = {} if self.pool is None else {"pool": [self.pool]}
        projection = {} if isinstance(self.projection, nn.Identity) else {"projection": [self.projection]}
        return {**group_by_depth(self.backbone), **pool, **projection, "head": [self.head]}

    def describe_groups(self) -> str:
        """The groups for `lock`, one per line: position from the end, name, number of parameters."""
        groups = self.parameter_groups().items()
        lines = [f"{name} {sum(parameter.numel() for parameter in part):,}" for name, part in groups]
        return "\n".join(f"{len(lines) - index:3d} {line}" for index, line in enumerate(lines))

    def translate_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Accept timm's names, EfficientNet-PyTorch's or DINOv2's; vision transformers' positions fit any grid."""
        if is_efficientnet_pytorch(weights) and hasattr(self.backbone, "conv_stem"):
            weights = rename_to_timm(weights, depths=[len(stage) for stage in self.backbone.blocks])
        if is_dinov2(weights):
            weights = rename_dinov2(weights)
        if not any(name.startswith("backbone.") for name in weights):
            weights = self._add_prefix(weights)
        return self._fit_positions(weights)

    def _add_prefix(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        classifier = layer_name(self.backbone, "classifier")
        return {
            f"head{name.removeprefix(classifier)}" if name.startswith(f"{classifier}.") else f"backbone.{name}": value
            for name, value in weights.items()
        }

    def _fit_positions(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        own, given = getattr(self.backbone, "pos_embed", None), weights.get("backbone.pos_embed")
        grid = getattr(getattr(self.backbone, "patch_embed", None), "grid_size", None)
        if own is None or given is None or grid is None or own.shape == given.shape:
            return dict(weights)
        return {**weights, "backbone.pos_embed": fit_positions(given[0], own.shape[1] - prod(grid), 2, grid)[None]}


EFFICIENTNET_LAYERS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# Names of the EfficientNet-PyTorch package -> timm's. A block without expansion has two convolutions, one with
# expansion three; timm numbers the norms of a block in order.
PLAIN_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
EXPANDING_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
SQUEEZE_EXCITATION = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}


def is_efficientnet_pytorch(weights: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of the EfficientNet-PyTorch package."""
    return "_conv_stem.weight" in weights


def rename_to_timm(weights: Mapping[str, Tensor], depths: Sequence[int]) -> dict[str, Tensor]:
    """Rename tensors of the EfficientNet-PyTorch package; `depths` are the numbers of blocks in each stage.

    That package numbers blocks over all stages. A block beyond the network's last one keeps its name.
    """
    blocks = [(stage, block) for stage, depth in enumerate(depths) for block in range(depth)]
    renamed = {}
    for name, value in weights.items():
        match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if match is not None and int(match[1]) < len(blocks):
            stage, block = blocks[int(match[1])]
            expands = f"_blocks.{match[1]}._expand_conv.weight" in weights
            names = (EXPANDING_BLOCK if expands else PLAIN_BLOCK) | SQUEEZE_EXCITATION
            renamed[f"blocks.{stage}.{block}.{names.get(match[2], match[2])}.{match[3]}"] = value
        else:
            module, _, leaf = name.partition(".")
            renamed[f"{EFFICIENTNET_LAYERS.get(module, module)}.{leaf}"] = value
    return renamed


@WEIGHT_SOURCES.register("timm")
def read_timm_weights(backbone: str) -> dict[str, Tensor]:
    """timm's own pretrained tensors of a model, from its cache or the network."""
    import timm

    check_backbone(backbone)
    return timm.create_model(backbone, pretrained=True).state_dict()
