"""ResNet in 2D and 3D (arXiv:1512.03385), with torchvision's parameter names and strides.

Axes: B batch, C channels, S spatial (H, W) or (D, H, W), K classes, F features.
"""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.layers import (
    CHANNELS_LAST,
    CONV,
    MAX_POOL,
    DropPath,
    Size,
    check_four_stages,
    check_input,
    check_spatial_dims,
    classifier_layer,
    global_mean,
    norm_layer,
    spread_over_depth,
    strided_conv,
)
from pipeline.models.network import Network
from pipeline.models.registry import MODELS


class ResidualBlock(nn.Module):
    """The input, brought to the output's shape by `downsample` where it differs, plus its `residual`."""

    expansion: int
    """Output channels per channel of `width`."""

    def __init__(
        self, spatial_dims: int, in_channels: int, width: int, *, stride: Size, norm: str, drop_path_rate: float
    ) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            conv = strided_conv(spatial_dims, in_channels, out_channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, norm_layer(norm, spatial_dims, out_channels))
        self.drop_path = DropPath(drop_path_rate)

    def residual(self, x: Tensor) -> Tensor:
        """The convolutions, up to the last norm."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return functional.relu(self.drop_path(self.residual(x)) + shortcut, inplace=True)


class BasicBlock(ResidualBlock):
    """Two convolutions of kernel 3, the stride in the first. Shape: (B, C, *S) -> (B, width, *S / stride)."""

    expansion = 1

    def __init__(
        self, spatial_dims: int, in_channels: int, width: int, *, stride: Size, norm: str, drop_path_rate: float
    ) -> None:
        super().__init__(spatial_dims, in_channels, width, stride=stride, norm=norm, drop_path_rate=drop_path_rate)
        self.conv1 = strided_conv(spatial_dims, in_channels, width, 3, stride, bias=False)
        self.bn1 = norm_layer(norm, spatial_dims, width)
        self.conv2 = strided_conv(spatial_dims, width, width, 3, 1, bias=False)
        self.bn2 = norm_layer(norm, spatial_dims, width)

    def residual(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)), inplace=True)))


class Bottleneck(ResidualBlock):
    """Kernels 1, 3, 1, the stride in the second, as torchvision. Shape: (B, C, *S) -> (B, 4 width, *S / stride)."""

    expansion = 4

    def __init__(
        self, spatial_dims: int, in_channels: int, width: int, *, stride: Size, norm: str, drop_path_rate: float
    ) -> None:
        super().__init__(spatial_dims, in_channels, width, stride=stride, norm=norm, drop_path_rate=drop_path_rate)
        self.conv1 = strided_conv(spatial_dims, in_channels, width, 1, 1, bias=False)
        self.bn1 = norm_layer(norm, spatial_dims, width)
        self.conv2 = strided_conv(spatial_dims, width, width, 3, stride, bias=False)
        self.bn2 = norm_layer(norm, spatial_dims, width)
        self.conv3 = strided_conv(spatial_dims, width, width * self.expansion, 1, 1, bias=False)
        self.bn3 = norm_layer(norm, spatial_dims, width * self.expansion)

    def residual(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = functional.relu(self.bn2(self.conv2(x)), inplace=True)
        return self.bn3(self.conv3(x))


# arXiv:1512.03385, table 1
DIMS = (64, 128, 256, 512)
SIZES = {
    "18": dict(block=BasicBlock, depths=(2, 2, 2, 2)),
    "34": dict(block=BasicBlock, depths=(3, 4, 6, 3)),
    "50": dict(block=Bottleneck, depths=(3, 4, 6, 3)),
    "101": dict(block=Bottleneck, depths=(3, 4, 23, 3)),
    "152": dict(block=Bottleneck, depths=(3, 8, 36, 3)),
}


class ResNet(Network):
    """Stem, four stages of residual blocks, global mean and linear.

    `dims` are the widths of the stages' blocks, the first also that of the stem; narrower ones suit small volumes.
    Sizes are one number or one per axis. `down_strides` are those of stages 2 to 4; for volumes under 48 voxels
    `stem_stride=1` keeps two tokens per axis at the end, or `stem_pool=False` leaves the stem's max pool out.
    `norm` is `batch`, `instance`, `group` (one group) or `layer` (over channels), everywhere. `drop_rate` is that
    of the embedding; the drop path grows from 0 to `drop_path_rate` over depth.
    """

    first_conv = "conv1"
    classifier = "fc"

    def __init__(
        self,
        *,
        block: type[ResidualBlock],
        depths: Sequence[int],
        dims: Sequence[int] = DIMS,
        spatial_dims: int = 3,
        in_channels: int = 1,
        num_classes: int = 2,
        norm: str = "batch",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        stem_size: Size = 7,
        stem_stride: Size = 2,
        stem_pool: bool = True,
        down_strides: Sequence[Size] = (2, 2, 2),
    ) -> None:
        super().__init__()
        check_spatial_dims(spatial_dims)
        check_four_stages("resnet", depths, dims, down_strides)
        self.spatial_dims, self.in_channels, self.num_features = spatial_dims, in_channels, dims[-1] * block.expansion
        self.conv1 = strided_conv(spatial_dims, in_channels, dims[0], stem_size, stem_stride, bias=False)
        self.bn1 = norm_layer(norm, spatial_dims, dims[0])
        self.maxpool = MAX_POOL[spatial_dims](3, stride=2, padding=1) if stem_pool else nn.Identity()
        channels = dims[0]
        rates = spread_over_depth(drop_path_rate, depths)
        for index, (width, stride) in enumerate(zip(dims, (1, *down_strides), strict=True)):
            blocks = []
            for position, rate in enumerate(rates[index]):
                step = stride if position == 0 else 1
                blocks.append(block(spatial_dims, channels, width, stride=step, norm=norm, drop_path_rate=rate))
                channels = width * block.expansion
            setattr(self, f"layer{index + 1}", nn.Sequential(*blocks))
        self.drop = nn.Dropout(drop_rate)
        self.init_weights()
        self.reset_classifier(num_classes)

    def init_weights(self) -> None:
        """He's normal by fan-out for convolutions, as torchvision."""
        for module in self.modules():
            if isinstance(module, CONV[self.spatial_dims]):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_stem(self, x: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        x = self.conv1(x)
        if self.spatial_dims == 2:
            # Every later layer keeps this layout, which takes a sixth less time on CPU; in 3D it takes more.
            x = x.contiguous(memory_format=CHANNELS_LAST[2])
        return self.maxpool(functional.relu(self.bn1(x), inplace=True))

    def stage_blocks(self) -> tuple[nn.Sequential, ...]:
        return self.layer1, self.layer2, self.layer3, self.layer4

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        embedding = self.drop(global_mean(features))
        return embedding if pre_logits else self.fc(embedding)

    def reset_classifier(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.fc = classifier_layer(self.num_features, num_classes)

    def layer_groups(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        stages = {f"layer{index}": [stage] for index, stage in enumerate(self.stage_blocks(), start=1)}
        return {"stem": [self.conv1, self.bn1], **stages, "head": [self.fc]}


for _name, _size in SIZES.items():
    MODELS.register(f"resnet{_name}")(partial(ResNet, **_size))
