"""Pretrained weights for timm networks: timm's own, and EfficientNets under another package's names."""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from pipeline.models.pretrained.sources import WEIGHT_SOURCES
from pipeline.models.timm.backbone import check_backbone

EFFICIENTNET_LAYERS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# Names of the EfficientNet-PyTorch package -> timm's. A block without expansion has two convolutions, one with
# expansion three; timm numbers the norms of a block in order.
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
    """Whether the names are those of the EfficientNet-PyTorch package."""
    return "_conv_stem.weight" in weights


def rename_to_timm(weights: Mapping[str, Tensor], depths: Sequence[int]) -> dict[str, Tensor]:
    """Rename tensors of the EfficientNet-PyTorch package; `depths` are the numbers of blocks in each stage.

    That package numbers blocks over all stages. A block beyond the network's last one keeps its name.
    """
    blocks = [(stage, block) for stage, depth in enumerate(depths) for block in range(depth)]
    renamed = {}
    for name, value in weights.items():
        match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if match is not None and int(match[1]) < len(blocks):
            stage, block = blocks[int(match[1])]
            expands = f"_blocks.{match[1]}._expand_conv.weight" in weights
            names = (EXPANDING_BLOCK if expands else PLAIN_BLOCK) | SQUEEZE_EXCITATION
            renamed[f"blocks.{stage}.{block}.{names.get(match[2], match[2])}.{match[3]}"] = value
        else:
            module, _, leaf = name.partition(".")
            renamed[f"{EFFICIENTNET_LAYERS.get(module, module)}.{leaf}"] = value
    return renamed


@WEIGHT_SOURCES.register("timm")
def read_timm_weights(backbone: str) -> dict[str, Tensor]:
    """timm's own pretrained tensors of a model, from its cache or the network."""
    import timm

    check_backbone(backbone)
    return timm.create_model(backbone, pretrained=True).state_dict()
