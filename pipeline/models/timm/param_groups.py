"""Named parameter groups of a timm network by depth, with or without timm's own matcher."""

import os

from torch import nn

from pipeline.models.timm.backbone import levels_of

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
