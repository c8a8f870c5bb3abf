"""Names of DINOv2 in the transformers library, as exported to ONNX -> timm's. Axes: N positions, F features."""

import re
from collections.abc import Mapping

from torch import Tensor, cat

PREFIX = "backbone."
LAYERS = {
    "embeddings.cls_token": "cls_token",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}
BLOCK = {
    "norm1": "norm1",
    "attention.output.dense": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "layer_scale2.lambda1": "ls2.gamma",
}
POSITIONS = ("embeddings.Concat_6", "embeddings.Reshape_1")
"""The class token's position, and those of the patches, which the exporter cut apart for resizing."""


def is_dinov2(weights: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of the transformers library below `backbone.`."""
    return f"{PREFIX}embeddings.cls_token" in weights


def rename_dinov2(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """timm's names, without what is outside the backbone; query, key and value become one matrix."""
    own = {name.removeprefix(PREFIX): value for name, value in weights.items() if name.startswith(PREFIX)}
    renamed = {LAYERS[name]: value for name, value in own.items() if name in LAYERS}
    if all(name in own for name in POSITIONS):
        renamed["pos_embed"] = cat([own[name] for name in POSITIONS], dim=1)
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in own.items():
        if name in LAYERS or name in POSITIONS:
            continue
        match = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+?)(\.weight|\.bias)?", name)
        layer, leaf = (match[2], match[3] or "") if match else ("", "")
        if match and layer.startswith("attention.attention."):
            key = f"blocks.{match[1]}.attn.qkv{leaf}"
            parts.setdefault(key, {})[layer.rpartition(".")[2]] = value
        elif match and layer in BLOCK:
            renamed[f"blocks.{match[1]}.{BLOCK[layer]}{leaf}"] = value
        else:
            # Loading rejects it by this name.
            renamed[name] = value
    for key, found in parts.items():
        renamed[key] = cat([found[role] for role in ("query", "key", "value") if role in found])
    return renamed
