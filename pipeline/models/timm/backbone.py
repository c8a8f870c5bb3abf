"""A timm network as a backbone: its stages, and the pooling before the head."""

import timm
from timm.layers import AttentionPool2d, DropPath, Mlp, PatchDropout, RotAttentionPool2d
from torch import Tensor, nn

from pipeline.core.errors import did_you_mean

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


NUM_STAGES = 4


def check_backbone(backbone: str) -> None:
    """Refuse a name that timm does not know."""
    if not timm.is_model(backbone):
        nearest = did_you_mean(backbone, timm.list_models())
        raise ValueError(f"unknown timm model '{backbone}'.{nearest} Known: those of timm.list_models().")


def create_trunk(
    backbone: str,
    *,
    in_channels: int,
    global_pool: str | None,
    input_size: tuple[int, int] | None,
    drop_path_rate: float,
    patch_drop_rate: float,
) -> nn.Module:
    """The named network, randomly initialised, pooling by `global_pool` (None: as timm has it).

    `input_size` goes to those of one size only. Vision transformers are built to take any.
    """
    check_backbone(backbone)
    options: dict[str, object] = {"in_chans": in_channels}
    if drop_path_rate:
        options["drop_path_rate"] = drop_path_rate
    if patch_drop_rate:
        options["patch_drop_rate"] = patch_drop_rate
    has_fixed_size = timm.get_pretrained_cfg(backbone).fixed_input_size
    if has_fixed_size and input_size is not None:
        options["img_size"] = input_size
    trunk = _create(backbone, options, tries_any_size=has_fixed_size)
    _check_dropping(backbone, trunk, drop_path_rate, patch_drop_rate)
    _leave_to_the_adapter(backbone, trunk, global_pool)
    return trunk


def _create(backbone: str, options: dict[str, object], *, tries_any_size: bool) -> nn.Module:
    # timm does not tell beforehand which options a network takes; a constructor refuses before it builds anything.
    if tries_any_size:
        try:
            return timm.create_model(backbone, dynamic_img_size=True, dynamic_img_pad=True, **options)
        except TypeError:
            pass
    try:
        return timm.create_model(backbone, **options)
    except TypeError as error:
        raise ValueError(f"timm model '{backbone}' cannot be built with {options}: {error}") from error


def _leave_to_the_adapter(backbone: str, trunk: nn.Module, global_pool: str | None) -> None:
    """Take the classifier off and set the pooling; some networks have but one way to pool."""
    try:
        trunk.reset_classifier(0, **({} if global_pool is None else {"global_pool": global_pool}))
    except AssertionError as error:
        raise ValueError(f"timm model '{backbone}': {error} Choose pooling 'native'.") from error


def _check_dropping(backbone: str, trunk: nn.Module, drop_path_rate: float, patch_drop_rate: float) -> None:
    """An option that changed nothing was swallowed on the way."""
    for option, rate, kind in (
        ("drop_path_rate", drop_path_rate, DropPath),
        ("patch_drop_rate", patch_drop_rate, PatchDropout),
    ):
        if rate and not any(isinstance(module, kind) for module in trunk.modules()):
            raise ValueError(f"timm model '{backbone}' has no place for {option}, got {rate}; leave it out")


def stage_indices(trunk: nn.Module, backbone: str) -> list[int]:
    """The four of timm's feature levels to show: the last ones of a pyramid, evenly spaced ones of a plain column.

    All of them where there are fewer.
    """
    reductions = [level["reduction"] for level in levels_of(trunk)]
    if not reductions or not hasattr(trunk, "forward_intermediates"):
        raise ValueError(f"timm model '{backbone}' does not show its stages; choose one of its relatives")
    if len(reductions) < NUM_STAGES:
        return list(range(len(reductions)))
    if len(set(reductions)) == 1:
        return [len(reductions) * (index + 1) // NUM_STAGES - 1 for index in range(NUM_STAGES)]
    return list(range(len(reductions) - NUM_STAGES, len(reductions)))


def levels_of(trunk: nn.Module) -> list[dict[str, object]]:
    """timm's table of feature levels, a list in some networks and an object in others."""
    table = getattr(trunk, "feature_info", [])
    return list(getattr(table, "info", table))


def input_size_of(trunk: nn.Module) -> tuple[int, int] | None:
    """The one input size (H, W) that the network takes; None if it takes others too, or does not tell."""
    patch_embeds = (module for module in trunk.modules() if getattr(module, "strict_img_size", False))
    return next((patch_embed.img_size for patch_embed in patch_embeds), None)


def map_size_of(trunk: nn.Module, backbone: str, input_size: tuple[int, int] | None) -> tuple[int, int]:
    """Size (H, W) of the last map, for an input of timm's own size or of `input_size`; tokens are an error."""
    pool_size = trunk.pretrained_cfg.get("pool_size")
    if pool_size is None:
        raise ValueError(
            f"timm model '{backbone}' has tokens where attention pooling needs a map; choose pooling native or avg"
        )
    if input_size is None:
        return pool_size
    reduction = levels_of(trunk)[-1]["reduction"]
    return tuple(-(-size // reduction) for size in input_size)


def as_map(features: Tensor, trunk: nn.Module) -> Tensor:
    """Unpooled features of a network of maps as (B, F, H, W)."""
    return features.permute(0, 3, 1, 2) if getattr(trunk, "output_fmt", None) == "NHWC" else features


def layer_name(trunk: nn.Module, role: str) -> str:
    """Name of the `first_conv` or the `classifier`; the first of several, empty for none."""
    names = trunk.pretrained_cfg.get(role)
    return names if isinstance(names, str) else next(iter(names or ()), "")
