"""A timm network as a backbone: how it is built, its stages, and the pooling before the head.

timm is imported where it is used: it imports wandb and all its models, which takes seconds that other networks need not
wait for.
"""

import os

from einops import rearrange
from torch import Tensor, nn

from pipeline.core.errors import did_you_mean

GLOBAL_POOLS = {"native": None, "avg": "avg", "abs_attn": "", "rot_attn": "", "none": ""}
"""Pooling -> timm's `global_pool`: None keeps timm's own, the empty string turns it off."""
ATTENTION_POOLS = ("abs_attn", "rot_attn")
PROJECTIONS = ("none", "linear", "mlp")
HEAD_WIDTH = 64
"""Features per head of timm's attention pooling."""
NUM_STAGES = 4


def build_attention_pool(kind: str, width: int, out_features: int, map_size: tuple[int, int]) -> nn.Module:
    """Attention from the mean over a map, (B, width, H, W) -> (B, out_features).

    Positions are absolute, learned for `map_size` and interpolated for others, or rotary.
    """
    from timm.layers import AttentionPool2d, RotAttentionPool2d

    if width % HEAD_WIDTH:
        raise ValueError(f"attention pooling has heads of {HEAD_WIDTH} features and cannot divide {width}")
    if kind == "abs_attn":
        return AttentionPool2d(width, feat_size=map_size, out_features=out_features)
    return RotAttentionPool2d(width, out_features=out_features)


def build_projection(kind: str, in_features: int, out_features: int, *, bias: bool, drop_rate: float) -> nn.Module:
    """From pooled features to the embedding; `none` is the identity and keeps the number of features."""
    from timm.layers import Mlp

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


def check_backbone(name: str) -> None:
    """Reject a name that timm does not know."""
    import timm

    if not timm.is_model(name):
        nearest = did_you_mean(name, timm.list_models())
        raise ValueError(f"unknown timm model '{name}'.{nearest} Known: those of timm.list_models().")


def create_backbone(
    name: str,
    *,
    in_channels: int,
    global_pool: str | None,
    input_size: tuple[int, int] | None,
    drop_path_rate: float,
    patch_drop_rate: float,
) -> nn.Module:
    """The named network, randomly initialized, pooling by `global_pool` (None: timm's own).

    `input_size` applies to networks of one size only. Vision transformers are built to accept any.
    """
    import timm

    check_backbone(name)
    options: dict[str, object] = {"in_chans": in_channels}
    if drop_path_rate:
        options["drop_path_rate"] = drop_path_rate
    if patch_drop_rate:
        options["patch_drop_rate"] = patch_drop_rate
    has_fixed_size = timm.get_pretrained_cfg(name).fixed_input_size
    if has_fixed_size and input_size is not None:
        options["img_size"] = input_size
    backbone = _create(name, options, tries_any_size=has_fixed_size)
    _check_drop_rates(name, backbone, drop_path_rate, patch_drop_rate)
    _replace_head(name, backbone, global_pool)
    return backbone


def _create(name: str, options: dict[str, object], *, tries_any_size: bool) -> nn.Module:
    import timm

    # timm does not list the options of a network; a constructor rejects unknown ones before it builds anything.
    if tries_any_size:
        try:
            return timm.create_model(name, dynamic_img_size=True, dynamic_img_pad=True, **options)
        except TypeError:
            pass
    try:
        return timm.create_model(name, **options)
    except TypeError as error:
        raise ValueError(f"timm model '{name}' cannot be built with {options}: {error}") from error


def _replace_head(name: str, backbone: nn.Module, global_pool: str | None) -> None:
    """Remove the classifier and set the pooling; some networks have only one way to pool."""
    try:
        backbone.reset_classifier(0, **({} if global_pool is None else {"global_pool": global_pool}))
    except AssertionError as error:
        raise ValueError(f"timm model '{name}': {error} Choose pooling 'native'.") from error


def _check_drop_rates(name: str, backbone: nn.Module, drop_path_rate: float, patch_drop_rate: float) -> None:
    """Reject a rate that timm ignored."""
    from timm.layers import DropPath, PatchDropout

    for option, rate, kind in (
        ("drop_path_rate", drop_path_rate, DropPath),
        ("patch_drop_rate", patch_drop_rate, PatchDropout),
    ):
        if rate and not any(isinstance(module, kind) for module in backbone.modules()):
            raise ValueError(f"timm model '{name}' has no place for {option}, got {rate}; leave it out")


def stage_indices(backbone: nn.Module, name: str) -> list[int]:
    """Indices of four of timm's feature levels: the last of a pyramid, or evenly spaced ones at one resolution.

    If there are fewer than four, all of them.
    """
    reductions = [level["reduction"] for level in levels_of(backbone)]
    if not reductions or not hasattr(backbone, "forward_intermediates"):
        raise ValueError(f"timm model '{name}' does not return its stages; choose a related model")
    if len(reductions) < NUM_STAGES:
        return list(range(len(reductions)))
    if len(set(reductions)) == 1:
        return [len(reductions) * (index + 1) // NUM_STAGES - 1 for index in range(NUM_STAGES)]
    return list(range(len(reductions) - NUM_STAGES, len(reductions)))


def levels_of(backbone: nn.Module) -> list[dict[str, object]]:
    """timm's table of feature levels, a list in some networks and an object in others."""
    table = getattr(backbone, "feature_info", [])
    return list(getattr(table, "info", table))


def input_size_of(backbone: nn.Module) -> tuple[int, int] | None:
    """The only input size (H, W) that the network accepts; None if it accepts others or does not declare one."""
    patch_embeds = (module for module in backbone.modules() if getattr(module, "strict_img_size", False))
    return next((patch_embed.img_size for patch_embed in patch_embeds), None)


def map_size_of(backbone: nn.Module, name: str, input_size: tuple[int, int] | None) -> tuple[int, int]:
    """Size (H, W) of the last map, for an input of timm's own size or of `input_size`; tokens are an error."""
    pool_size = backbone.pretrained_cfg.get("pool_size")
    if pool_size is None:
        raise ValueError(
            f"timm model '{name}' has tokens where attention pooling needs a map; choose pooling native or avg"
        )
    if input_size is None:
        return pool_size
    reduction = levels_of(backbone)[-1]["reduction"]
    return tuple(-(-size // reduction) for size in input_size)


def as_map(features: Tensor, backbone: nn.Module) -> Tensor:
    """Unpooled features, (B, H, W, F) in some networks, as (B, F, H, W)."""
    return rearrange(features, "b h w f -> b f h w") if getattr(backbone, "output_fmt", None) == "NHWC" else features


def layer_name(backbone: nn.Module, role: str) -> str:
    """Name of the `first_conv` or the `classifier`: the first of several, empty if there is none."""
    names = backbone.pretrained_cfg.get(role)
    return names if isinstance(names, str) else next(iter(names or ()), "")


Parts = list[nn.Module | nn.Parameter]


def group_by_depth(backbone: nn.Module) -> dict[str, Parts]:
    """Parts of the network from the input on, `stem` first; every parameter is in exactly one."""
    has_matcher = hasattr(backbone, "group_matcher")
    named = _groups_of_timm(backbone) if has_matcher else _groups_of_stages(backbone)
    return {group: _parts(backbone, names) for group, names in named.items()}


def _groups_of_timm(backbone: nn.Module) -> dict[str, list[str]]:
    """timm's own numbered groups, each under the name that its parameters share."""
    from timm.models import group_parameters

    groups: dict[str, list[str]] = {}
    numbered = group_parameters(backbone, backbone.group_matcher(coarse=False))
    for index, names in sorted(numbered.items()):
        shared = _shared_module(names) if index else "stem"
        groups[shared if shared not in groups else f"{shared} ({index})"] = names
    return groups


def _groups_of_stages(backbone: nn.Module) -> dict[str, list[str]]:
    """Stem, the stages that timm lists, and the layers after them, for networks without a matcher."""
    stages = [info["module"] for info in levels_of(backbone)]
    groups: dict[str, list[str]] = {"stem": [], **{stage: [] for stage in stages}, "pre_logits": []}
    after_stages = False
    for name, _ in backbone.named_parameters():
        stage = next((stage for stage in stages if name.startswith(f"{stage}.")), None)
        after_stages = after_stages or stage is not None
        groups[stage or ("pre_logits" if after_stages else "stem")].append(name)
    return {group: names for group, names in groups.items() if names}


def _shared_module(names: list[str]) -> str:
    """`blocks.3` for `blocks.3.norm.weight`, `blocks.3.mlp.fc1.bias` …; names of other modules do not count."""
    first = names[0].split(".")[0]
    paths = [name.rpartition(".")[0].split(".") for name in names if name.startswith(first)]
    return ".".join(os.path.commonprefix(paths)) or first


def _parts(backbone: nn.Module, names: list[str]) -> Parts:
    """Innermost modules, batch norms among them, and the parameters that a module with children owns itself."""
    parts: dict[str, nn.Module | nn.Parameter] = {}
    for name in names:
        owner = name.rpartition(".")[0]
        module = backbone.get_submodule(owner)
        is_innermost = next(module.children(), None) is None
        parts[owner if is_innermost else name] = module if is_innermost else backbone.get_parameter(name)
    return list(parts.values())
