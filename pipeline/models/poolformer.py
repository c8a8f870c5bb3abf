"""PoolFormer in 2D and 3D (arXiv:2111.11418).

Axes: B batch, C channels, S spatial (H, W) or (D, H, W), K classes, F features.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.layers import (
    CHANNELS_LAST,
    DropPath,
    Size,
    check_four_stages,
    check_input,
    check_spatial_dims,
    classifier_layer,
    global_mean,
    norm_layer,
    per_channel,
    spread_over_depth,
    strided_conv,
)
from pipeline.models.network import Network
from pipeline.models.pool_mixer import PoolMixer
from pipeline.models.registry import MODELS

SMALL, MEDIUM = (64, 128, 320, 512), (96, 192, 384, 768)
# arXiv:2111.11418: widths and depths, and the layer scale and drop path with which the authors trained each. t6 is this
# project's: a hundred scans train it, and an eighth of the work of s12 lets it take more steps (docs/accuracy.md).
SIZES = {
    "t6": dict(depths=(1, 1, 3, 1), dims=(24, 48, 120, 192), layer_scale_init_value=1e-5, drop_path_rate=0.1),
    "s12": dict(depths=(2, 2, 6, 2), dims=SMALL, layer_scale_init_value=1e-5, drop_path_rate=0.1),
    "s24": dict(depths=(4, 4, 12, 4), dims=SMALL, layer_scale_init_value=1e-5, drop_path_rate=0.1),
    "s36": dict(depths=(6, 6, 18, 6), dims=SMALL, layer_scale_init_value=1e-6, drop_path_rate=0.2),
    "m36": dict(depths=(6, 6, 18, 6), dims=MEDIUM, layer_scale_init_value=1e-6, drop_path_rate=0.3),
    "m48": dict(depths=(8, 8, 24, 8), dims=MEDIUM, layer_scale_init_value=1e-6, drop_path_rate=0.4),
}
# Patterns of published parameter names and their replacements here.
AUTHORS_NAMES = (
    (r"^patch_embed\.proj\.", "stem."),
    (r"^network\.([0246])\.(\d+)\.", lambda m: f"stages.{int(m[1]) // 2}.blocks.{m[2]}."),
    (r"^network\.([135])\.proj\.", lambda m: f"stages.{int(m[1]) // 2 + 1}.downsample."),
    (r"\.layer_scale_([12])$", r".layer_scale\1.scale"),
    (r"^norm([0246])\.", lambda m: f"stage_norms.{int(m[1]) // 2}."),
)
TIMM_NAMES = (
    (r"^stem\.conv\.", "stem."),
    (r"\.downsample\.conv\.", ".downsample."),
    (r"^head\.norm\.", "norm."),
    (r"^head\.fc\.", "head."),
)


class LayerScaleResidual(nn.Module):
    """Add a branch to its input, scaled per channel (arXiv:2103.17239) unless `layer_scale_init_value` is 0.

    Shape: (B, C, *S), (B, C, *S) -> same.
    """

    def __init__(self, channels: int, *, layer_scale_init_value: float, drop_path_rate: float) -> None:
        super().__init__()
        start = torch.full((channels,), float(layer_scale_init_value))
        self.scale = nn.Parameter(start) if layer_scale_init_value else None
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, branch: Tensor) -> Tensor:
        if self.scale is None:
            return x + self.drop_path(branch)
        # Dropping the scale drops the branch, so that scaling, dropping and adding take one pass over memory.
        scale = self.drop_path(self.scale.expand(len(x), -1))
        return torch.addcmul(x, branch, per_channel(scale, x.dim() - 2))


class TokenMlp(nn.Module):
    """Two linear layers over the channels of each token. Shape: (B, C, *S) -> same.

    Matrix products over tokens, because a 1x1x1 convolution is several times slower on CPU. A map in channels-last
    memory is not copied, and the output is always in channels-last memory.
    """

    def __init__(self, channels: int, hidden_channels: int, drop_rate: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden_channels)
        self.fc2 = nn.Linear(hidden_channels, channels)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        x = rearrange(x, "b c ... -> b ... c").contiguous()
        x = self.drop(self.fc2(self.drop(functional.gelu(self.fc1(x)))))
        return rearrange(x, "b ... c -> b c ...")


class PoolFormerBlock(nn.Module):
    """Mix neighbors, then channels, each on the normalized input and added to it. Shape: (B, C, *S) -> same."""

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        *,
        pool_size: Size,
        mlp_ratio: float,
        norm: str,
        layer_scale_init_value: float,
        drop_rate: float,
        drop_path_rate: float,
    ) -> None:
        super().__init__()
        layer_scale = partial(
            LayerScaleResidual, channels, layer_scale_init_value=layer_scale_init_value, drop_path_rate=drop_path_rate
        )
        self.norm1 = norm_layer(norm, spatial_dims, channels)
        self.mixer = PoolMixer(spatial_dims, pool_size)
        self.layer_scale1 = layer_scale()
        self.norm2 = norm_layer(norm, spatial_dims, channels)
        self.mlp = TokenMlp(channels, int(channels * mlp_ratio), drop_rate)
        self.layer_scale2 = layer_scale()

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer_scale1(x, self.mixer(self.norm1(x)))
        return self.layer_scale2(x, self.mlp(self.norm2(x)))


class Stage(nn.Module):
    """A downsampling convolution (the identity in the first stage) and the blocks at that resolution."""

    def __init__(self, downsample: nn.Module, blocks: Sequence[PoolFormerBlock]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.Sequential(*blocks)


class PoolFormer(Network):
    """Stem, four stages of blocks, and norm, global mean, linear as the head.

    Sizes are one number or one per axis. `down_strides` are those of the three downsamplings; for volumes under
    48 voxels `stem_stride=2` keeps two tokens per axis at the end. `norm` is `group` (one group), `layer` (over
    channels), `batch` or `instance`. `layer_scale_init_value=0` turns layer scale off. `drop_rate` is that of the
    blocks' linear layers; the drop path grows from 0 to `drop_path_rate` over depth. With `fork_feat` each
    stage map of `forward_stages` has its own norm.
    """

    def __init__(
        self,
        *,
        depths: Sequence[int],
        dims: Sequence[int],
        spatial_dims: int = 3,
        in_channels: int = 1,
        num_classes: int = 2,
        pool_size: Size = 3,
        mlp_ratio: float = 4.0,
        norm: str = "group",
        layer_scale_init_value: float = 1e-5,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        fork_feat: bool = False,
        stem_size: Size = 7,
        stem_stride: Size = 4,
        down_size: Size = 3,
        down_strides: Sequence[Size] = (2, 2, 2),
    ) -> None:
        super().__init__()
        check_spatial_dims(spatial_dims)
        check_four_stages("poolformer", depths, dims, down_strides)
        self.spatial_dims, self.in_channels, self.num_features = spatial_dims, in_channels, dims[-1]
        self.stem = strided_conv(spatial_dims, in_channels, dims[0], stem_size, stem_stride)
        downsamples = [nn.Identity()]
        for before, after, stride in zip(dims[:-1], dims[1:], down_strides, strict=True):
            downsamples.append(strided_conv(spatial_dims, before, after, down_size, stride))
        block = partial(
            PoolFormerBlock,
            spatial_dims,
            pool_size=pool_size,
            mlp_ratio=mlp_ratio,
            norm=norm,
            layer_scale_init_value=layer_scale_init_value,
            drop_rate=drop_rate,
        )
        rates = spread_over_depth(drop_path_rate, depths)
        self.stages = nn.ModuleList(
            Stage(downsample, [block(channels, drop_path_rate=rate) for rate in stage_rates])
            for downsample, channels, stage_rates in zip(downsamples, dims, rates, strict=True)
        )
        self.stage_norms = nn.ModuleList(
            norm_layer(norm, spatial_dims, channels) if fork_feat else nn.Identity() for channels in dims
        )
        self.norm = norm_layer(norm, spatial_dims, dims[-1])
        self.reset_classifier(num_classes)
        self.init_weights()

    def init_weights(self) -> None:
        """Truncated normal 0.02 and zero bias for every linear layer, as the authors do; convolutions as in torch."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward_stem(self, x: Tensor) -> Tensor:
        check_input(x, self.spatial_dims, self.in_channels)
        return self.stem(x).contiguous(memory_format=CHANNELS_LAST[self.spatial_dims])

    def stage_blocks(self) -> tuple[tuple[nn.Module, ...], ...]:
        return tuple((stage.downsample, *stage.blocks) for stage in self.stages)

    def stage_output(self, index: int, x: Tensor) -> Tensor:
        return self.stage_norms[index](x)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        embedding = global_mean(self.norm(features))
        return embedding if pre_logits else self.head(embedding)

    def reset_classifier(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.head = classifier_layer(self.num_features, num_classes)

    def layer_groups(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        stages = zip(self.stages, self.stage_norms, strict=True)
        groups = {f"stages.{index}": [stage, norm] for index, (stage, norm) in enumerate(stages)}
        return {"stem": [self.stem], **groups, "head": [self.norm, self.head]}

    def translate_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the authors' or timm's tensors and turn 1x1 convolutions (K, C, 1, 1) into linear layers (K, C)."""
        translated = {}
        for name, value in weights.items():
            for pattern, replacement in (*AUTHORS_NAMES, *TIMM_NAMES):
                name = re.sub(pattern, replacement, name)
            is_linear = name.endswith((".fc1.weight", ".fc2.weight"))
            translated[name] = rearrange(value, "k c ... -> k (c ...)") if is_linear else value
        return translated


for _name, _size in SIZES.items():
    MODELS.register(f"poolformer_{_name}")(partial(PoolFormer, **_size))
