"""CLIP's image tower for images and volumes (arXiv:2103.00020), with its parameter names.

Axes: B batch, C channels, S spatial (H, W) or (D, H, W), K classes, F features.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial

from einops import reduce
from torch import Tensor, nn

from pipeline.models.attention_pool import AttentionPool
from pipeline.models.layers import (
    BATCH_NORM,
    CONV,
    Size,
    check_input,
    check_spatial_dims,
    classifier_layer,
    global_mean,
    per_axis,
    per_channel,
)
from pipeline.models.network import Network
from pipeline.models.pretrained.load import fit_positions
from pipeline.models.registry import MODELS, check_choice

SIZES = {
    "50": dict(layers=(3, 4, 6, 3), width=64, embed_dim=1024, input_size=224),
    "101": dict(layers=(3, 4, 23, 3), width=64, embed_dim=512, input_size=224),
    "50x4": dict(layers=(4, 6, 10, 6), width=80, embed_dim=640, input_size=288),
    "50x16": dict(layers=(6, 8, 18, 8), width=96, embed_dim=768, input_size=384),
    "50x64": dict(layers=(3, 15, 36, 10), width=128, embed_dim=1024, input_size=448),
}  # arXiv:2103.00020, table 20
REDUCTION = 32
"""Input voxels per token of the last stage, along each axis."""
HEAD_WIDTH = 64
POSITIONS = "attnpool.positional_embedding"
SE_PLACES = ("none", "residual", "output")
POOLINGS = ("attention", "mean")
HALVE = {
    2: ("b c (h two) w -> b c h w", "b c h (w two) -> b c h w"),
    3: ("b c (d two) h w -> b c d h w", "b c d (h two) w -> b c d h w", "b c d h (w two) -> b c d h w"),
}


class Halve(nn.Module):
    """Mean of each 2^n cell, in any precision; an odd last voxel is dropped, an axis of one is left alone."""

    def forward(self, x: Tensor) -> Tensor:
        for axis, pattern in enumerate(HALVE[x.ndim - 2], start=2):
            pairs = x.shape[axis] // 2
            if pairs:
                x = reduce(x.narrow(axis, 0, 2 * pairs), pattern, "mean", two=2)
        return x


class SqueezeExcitation(nn.Module):
    """Scale each channel by a gate of all channels' means (arXiv:1709.01507). Shape: (B, C, *S) -> same."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, max(1, channels // reduction))
        self.act = nn.ReLU(inplace=True)
        self.fc2 = nn.Linear(max(1, channels // reduction), channels)

    def forward(self, x: Tensor) -> Tensor:
        gates = self.fc2(self.act(self.fc1(global_mean(x)))).sigmoid()
        return x * per_channel(gates, x.ndim - 2)


class Bottleneck(nn.Module):
    """1-3-1 convolutions that halve by averaging, never by striding.

    `se_place` gates the `residual` branch before the sum, or the block's `output` after it.
    """

    expansion = 4

    def __init__(
        self, in_channels: int, planes: int, *, halves: bool, spatial_dims: int, se_place: str, se_reduction: int
    ) -> None:
        super().__init__()
        conv, norm = CONV[spatial_dims], BATCH_NORM[spatial_dims]
        channels = planes * self.expansion
        self.conv1 = conv(in_channels, planes, 1, bias=False)
        self.bn1 = norm(planes)
        self.conv2 = conv(planes, planes, 3, padding=1, bias=False)
        self.bn2 = norm(planes)
        self.halve = Halve() if halves else nn.Identity()
        self.conv3 = conv(planes, channels, 1, bias=False)
        self.bn3 = norm(channels)
        self.act = nn.ReLU(inplace=True)
        self.se_residual = SqueezeExcitation(channels, se_reduction) if se_place == "residual" else nn.Identity()
        self.se_output = SqueezeExcitation(channels, se_reduction) if se_place == "output" else nn.Identity()
        self.downsample: nn.Module = nn.Identity()
        if halves or in_channels != channels:
            shortcut = [("-1", Halve() if halves else nn.Identity())]
            shortcut += [("0", conv(in_channels, channels, 1, bias=False)), ("1", norm(channels))]
            self.downsample = nn.Sequential(OrderedDict(shortcut))

    def forward(self, x: Tensor) -> Tensor:
        residual = self.act(self.bn1(self.conv1(x)))
        residual = self.halve(self.act(self.bn2(self.conv2(residual))))
        residual = self.se_residual(self.bn3(self.conv3(residual)))
        return self.se_output(self.act(residual + self.downsample(x)))


class ModifiedResNet(Network):
    """A ResNet with a three-convolution stem, anti-aliased strides and attention pooling.

    With `se_place="none"` and `num_classes=0` it is CLIP's own tower, embedding (B, embed_dim). `pooling="mean"`
    leaves attention out and embeds in 32 * width features. `input_size`, one number or one per axis, is the size
    for which positions are learned; any other works too.
    """

    first_conv = "conv1"

    def __init__(
        self,
        *,
        layers: Sequence[int],
        width: int,
        embed_dim: int,
        input_size: Size,
        spatial_dims: int = 3,
        in_channels: int = 1,
        num_classes: int = 2,
        se_place: str = "none",
        se_reduction: int = 16,
        pooling: str = "attention",
        pool_norm: bool = False,
        pool_init: str = "clip",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        check_spatial_dims(spatial_dims)
        check_choice("se_place", se_place, SE_PLACES)
        check_choice("pooling", pooling, POOLINGS)
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        self._build_stem(width)
        block = partial(Bottleneck, spatial_dims=spatial_dims, se_place=se_place, se_reduction=se_reduction)
        channels = width
        for index, depth in enumerate(layers):
            stage = build_stage(block, channels, width * 2**index, depth, halves=index > 0)
            self.add_module(f"layer{index + 1}", stage)
            channels = width * 2**index * Bottleneck.expansion
        self.attnpool = None
        self.num_features = channels
        if pooling == "attention":
            grid = [max(1, size // REDUCTION) for size in per_axis(input_size, spatial_dims, "input_size")]
            self.attnpool = AttentionPool(
                channels, embed_dim, grid=grid, num_heads=channels // HEAD_WIDTH, norm=pool_norm, init=pool_init
            )
            self.num_features = embed_dim
        self.head_drop = nn.Dropout(drop_rate)
        self.reset_classifier(num_classes)

    def _build_stem(self, width: int) -> None:
        conv, norm = CONV[self.spatial_dims], BATCH_NORM[self.spatial_dims]
        self.conv1 = conv(self.in_channels, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = norm(width // 2)
        self.conv2 = conv(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = norm(width // 2)
        self.conv3 = conv(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = norm(width)
        self.act = nn.ReLU(inplace=True)
        self.halve = Halve()

    def reset_classifier(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.head = classifier_layer(self.num_features, num_classes)

    def forward_stem(self, x: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = self.act(norm(conv(x)))
        return self.halve(x)

    def stage_blocks(self) -> tuple[nn.Sequential, ...]:
        return self.layer1, self.layer2, self.layer3, self.layer4

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        pooled = self.attnpool(features) if self.attnpool is not None else global_mean(features)
        pooled = self.head_drop(pooled)
        return pooled if pre_logits else self.head(pooled)

    def translate_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take the image tower out of a complete CLIP, and fit its positions to this network's grid."""
        tower = {name.removeprefix("visual."): value for name, value in weights.items() if name.startswith("visual.")}
        translated = tower or dict(weights)
        if self.attnpool is not None and {POSITIONS, "conv1.weight"} <= translated.keys():
            trained_dims = translated["conv1.weight"].ndim - 2
            translated[POSITIONS] = fit_positions(translated[POSITIONS], 1, trained_dims, self.attnpool.grid)
        return translated

    def layer_groups(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        stem = [self.conv1, self.bn1, self.conv2, self.bn2, self.conv3, self.bn3]
        stages = {f"layer{index}": [stage] for index, stage in enumerate(self.stage_blocks(), start=1)}
        pool = {} if self.attnpool is None else {"attnpool": [self.attnpool]}
        return {"stem": stem, **stages, **pool, "head": [self.head]}


def build_stage(
    block: partial[Bottleneck], in_channels: int, planes: int, depth: int, *, halves: bool
) -> nn.Sequential:
    """`depth` blocks, of which the first may halve. Each residual branch starts at zero, as in CLIP."""
    channels = planes * Bottleneck.expansion
    first = block(in_channels, planes, halves=halves)
    stage = nn.Sequential(first, *(block(channels, planes, halves=False) for _ in range(depth - 1)))
    for bottleneck in stage:
        nn.init.zeros_(bottleneck.bn3.weight)
    return stage


for _name, _size in SIZES.items():
    MODELS.register(f"modified_resnet{_name}")(partial(ModifiedResNet, **_size))
