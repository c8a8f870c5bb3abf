"""From a timm backbone's features to the embedding: attention pooling of a map, and projections.

Axes: B batch, F features, H W height, width.
"""

from timm.layers import AttentionPool2d, Mlp, RotAttentionPool2d
from torch import nn

GLOBAL_POOLS = {"native": None, "avg": "avg", "abs_attn": "", "rot_attn": "", "none": ""}
"""The poolings offered, as what timm is told: None is its own choice, empty leaves the map to us."""
ATTENTION_POOLS = ("abs_attn", "rot_attn")
PROJECTIONS = ("none", "linear", "mlp")
HEAD_WIDTH = 64
"""Features per head of timm's attention pooling."""


def build_attention_pool(kind: str, width: int, out_features: int, map_size: tuple[int, int]) -> nn.Module:
    """Attention from the mean over a map, (B, width, H, W) -> (B, out_features).

    Its positions are absolute, learned for `map_size` and interpolated for others, or rotary.
    """
    if width % HEAD_WIDTH:
        raise ValueError(f"attention pooling has heads of {HEAD_WIDTH} features and cannot share out {width}")
    if kind == "abs_attn":
        return AttentionPool2d(width, feat_size=map_size, out_features=out_features)
    return RotAttentionPool2d(width, out_features=out_features)


def build_projection(kind: str, in_features: int, out_features: int, *, bias: bool, drop_rate: float) -> nn.Module:
    """From pooled features to the embedding; `none` changes nothing, nor the number of features."""
    if kind == "linear":
        return nn.Linear(in_features, out_features, bias=bias)
    if kind == "mlp":
        return Mlp(in_features, 2 * out_features, out_features, bias=(True, bias), drop=(drop_rate, 0.0))
    if in_features != out_features:
        raise ValueError(
            f"embed_dim {out_features} differs from the {in_features} pooled features; choose a projection, "
            f"linear or mlp, or leave embed_dim out"
        )
    return nn.Identity()
