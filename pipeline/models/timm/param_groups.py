"""Parts of a timm network by depth, named, whether or not timm knows how to group it."""

import os

from timm.models import group_parameters
from torch import nn

from pipeline.models.timm.backbone import levels_of

Parts = list[nn.Module | nn.Parameter]


def group_by_depth(trunk: nn.Module) -> dict[str, Parts]:
    """Parts of the network from the input on, `stem` first; every parameter is in exactly one."""
    has_matcher = hasattr(trunk, "group_matcher")
    named = _groups_of_timm(trunk) if has_matcher else _groups_of_stages(trunk)
    return {group: _parts(trunk, names) for group, names in named.items()}


def _groups_of_timm(trunk: nn.Module) -> dict[str, list[str]]:
    """timm's own groups, which are numbered, under the name that a group's parameters share."""
    groups: dict[str, list[str]] = {}
    numbered = group_parameters(trunk, trunk.group_matcher(coarse=False))
    for index, names in sorted(numbered.items()):
        shared = _shared_module(names) if index else "stem"
        groups[shared if shared not in groups else f"{shared} ({index})"] = names
    return groups


def _groups_of_stages(trunk: nn.Module) -> dict[str, list[str]]:
    """Stem, the stages that timm lists, and whatever follows them (for example PoolFormer, without a matcher)."""
    stages = [info["module"] for info in levels_of(trunk)]
    groups: dict[str, list[str]] = {"stem": [], **{stage: [] for stage in stages}, "neck": []}
    after_stages = False
    for name, _ in trunk.named_parameters():
        stage = next((stage for stage in stages if name.startswith(f"{stage}.")), None)
        after_stages = after_stages or stage is not None
        groups[stage or ("neck" if after_stages else "stem")].append(name)
    return {group: names for group, names in groups.items() if names}


def _shared_module(names: list[str]) -> str:
    """`blocks.3` for `blocks.3.norm.weight`, `blocks.3.mlp.fc1.bias` …; strays such as a last norm do not count."""
    first = names[0].split(".")[0]
    paths = [name.rpartition(".")[0].split(".") for name in names if name.startswith(first)]
    return ".".join(os.path.commonprefix(paths)) or first


def _parts(trunk: nn.Module, names: list[str]) -> Parts:
    """Innermost modules, so that batch norms are among them; bare parameters of modules that hold others."""
    parts: dict[str, nn.Module | nn.Parameter] = {}
    for name in names:
        owner = name.rpartition(".")[0]
        module = trunk.get_submodule(owner)
        is_innermost = next(module.children(), None) is None
        parts[owner if is_innermost else name] = module if is_innermost else trunk.get_parameter(name)
    return list(parts.values())
