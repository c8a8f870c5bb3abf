"""Vision transformer for images and volumes (arXiv:2010.11929), with timm's parameter names.

Axes: B batch, C channels, S spatial (H, W) or (D, H, W), N tokens, F features, K classes.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.layers import (
    CONV,
    Size,
    check_input,
    check_spatial_dims,
    classifier_layer,
    per_axis,
    spread_over_depth,
    tokens_to_map,
)
from pipeline.models.network import Network, StageOutputs
from pipeline.models.pretrained.load import fit_positions, resize_positions
from pipeline.models.registry import MODELS, check_choice
from pipeline.models.transformer import EPS, NORMS, TransformerBlock

SIZES = {
    "tiny": dict(dim=192, depth=12, num_heads=3),
    "small": dict(dim=384, depth=12, num_heads=6),
    "base": dict(dim=768, depth=12, num_heads=12),
}  # arXiv:2012.12877, table 1
INPUT_SIZES = {2: 224, 3: 96}
POOLINGS = ("token", "mean")
NUM_STAGES = 4


class PatchEmbed(nn.Module):
    """Cut into patches and embed each; the far borders are filled with zeros up to whole patches.

    Shape: (B, C, *S) -> (B, F, *grid).
    """

    def __init__(self, in_channels: int, dim: int, patch_size: tuple[int, ...]) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = CONV[len(patch_size)](in_channels, dim, patch_size, stride=patch_size)

    def grid_of(self, size: Sequence[int]) -> tuple[int, ...]:
        """Patches along each axis of an input of this size."""
        return tuple((voxels + patch - 1) // patch for voxels, patch in zip(size, self.patch_size, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        sizes = zip(x.shape[2:], self.grid_of(x.shape[2:]), self.patch_size, strict=True)
        missing = [patches * patch - voxels for voxels, patches, patch in sizes]
        return self.proj(F.pad(x, [pad for amount in reversed(missing) for pad in (0, amount)]))


class ViT(Network):
    """Patches as tokens through `depth` pre-normalized blocks, shown as four stages of equal depth.

    `patch_size` and `input_size` are one number or one per axis. Positions are learned for `input_size`
    (None: 224 in 2D, 96 in 3D) and interpolated for any other. `pooling` reads a class token or the mean.
    """

    first_conv = "patch_embed.proj"

    def __init__(
        self,
        *,
        dim: int,
        depth: int,
        num_heads: int,
        spatial_dims: int = 3,
        in_channels: int = 1,
        num_classes: int = 2,
        patch_size: Size = 16,
        input_size: Size | None = None,
        num_kv_heads: int | None = None,
        mlp_ratio: float = 4.0,
        activation: str = "gelu",
        norm: str = "layernorm",
        pooling: str = "token",
        qkv_bias: bool = True,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        check_spatial_dims(spatial_dims)
        check_choice("norm", norm, NORMS)
        check_choice("pooling", pooling, POOLINGS)
        if depth < NUM_STAGES:
            raise ValueError(f"vit: depth must be {NUM_STAGES} or more, one block per stage, got {depth}")
        patch_size = per_axis(patch_size, spatial_dims, "patch_size")
        input_size = per_axis(input_size or INPUT_SIZES[spatial_dims], spatial_dims, "input_size")
        self.spatial_dims, self.in_channels, self.num_features = spatial_dims, in_channels, dim
        self.patch_embed = PatchEmbed(in_channels, dim, patch_size)
        self.grid = self.patch_embed.grid_of(input_size)
        self.num_prefix_tokens = 1 if pooling == "token" else 0
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if pooling == "token" else None
        self.pos_embed = nn.Parameter(torch.zeros(1, self.num_prefix_tokens + prod(self.grid), dim))
        self.pos_drop = nn.Dropout(drop_rate)
        block = partial(
            TransformerBlock,
            dim,
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            mlp_ratio=mlp_ratio,
            activation=activation,
            norm=norm,
            qkv_bias=qkv_bias,
            drop_rate=drop_rate,
            attn_drop_rate=attn_drop_rate,
        )
        rates = spread_over_depth(drop_path_rate, [depth])[0]
        self.blocks = nn.Sequential(*(block(drop_path_rate=rate) for rate in rates))
        self.norm = NORMS[norm](dim, eps=EPS)
        self.head_drop = nn.Dropout(drop_rate)
        self.reset_classifier(num_classes)
        self.init_weights()

    def init_weights(self) -> None:
        """Truncated normal 0.02 for linear layers and positions, zero biases; the class token close to zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=1e-6)

    def reset_classifier(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.head = classifier_layer(self.num_features, num_classes)

    def forward_stem(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> tokens (B, N, F) with their positions, the class token first."""
        check_input(x, self.spatial_dims, self.in_channels)
        patches = self.patch_embed(x)
        tokens = rearrange(patches, "b f ... -> b (...) f")
        if self.cls_token is not None:
            tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        return self.pos_drop(tokens + resize_positions(self.pos_embed[0], self.grid, patches.shape[2:]))

    def stage_blocks(self) -> tuple[nn.Sequential, ...]:
        ends = [len(self.blocks) * index // NUM_STAGES for index in range(NUM_STAGES + 1)]
        return tuple(self.blocks[start:end] for start, end in zip(ends, ends[1:], strict=False))

    def forward_stages(self, x: Tensor) -> StageOutputs:
        stages, logits = super().forward_stages(x)
        grid = self.patch_embed.grid_of(x.shape[2:])
        maps = tuple(tokens_to_map(tokens[:, self.num_prefix_tokens :], grid) for tokens in stages)
        return StageOutputs(maps, logits)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        tokens = self.norm(features)
        pooled = self.head_drop(tokens.mean(1) if self.cls_token is None else tokens[:, 0])
        return pooled if pre_logits else self.head(pooled)

    def translate_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Fit positions learned at another input size, or in 2D, to this network's grid."""
        translated = dict(weights)
        if {"pos_embed", "patch_embed.proj.weight"} <= translated.keys():
            trained_dims = translated["patch_embed.proj.weight"].ndim - 2
            positions = translated["pos_embed"][0]
            translated["pos_embed"] = fit_positions(positions, self.num_prefix_tokens, trained_dims, self.grid)[None]
        return translated

    def layer_groups(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        tokens = [self.pos_embed] if self.cls_token is None else [self.cls_token, self.pos_embed]
        groups = {f"blocks.{index}": [block] for index, block in enumerate(self.blocks)}
        groups[f"blocks.{len(self.blocks) - 1}"].append(self.norm)
        return {"stem": [self.patch_embed, *tokens], **groups, "head": [self.head]}


for _name, _size in SIZES.items():
    MODELS.register(f"vit_{_name}")(partial(ViT, **_size))
