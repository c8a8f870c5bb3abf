"""The published PoolFormer checkpoints, the authors' and timm's, under this project's names."""

import re
from collections.abc import Mapping

from torch import Tensor

AUTHORS = (
    (r"^patch_embed\.proj\.", "stem."),
    (r"^network\.([0246])\.(\d+)\.", lambda m: f"stages.{int(m[1]) // 2}.blocks.{m[2]}."),
    (r"^network\.([135])\.proj\.", lambda m: f"stages.{int(m[1]) // 2 + 1}.downsample."),
    (r"\.layer_scale_([12])$", r".residual\1.scale"),
    (r"^norm([0246])\.", lambda m: f"stage_norms.{int(m[1]) // 2}."),
)
TIMM = (
    (r"^stem\.conv\.", "stem."),
    (r"\.downsample\.conv\.", ".downsample."),
    (r"\.layer_scale([12])\.scale$", r".residual\1.scale"),
    (r"^head\.norm\.", "norm."),
    (r"^head\.fc\.", "head."),
)


def translate(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename to this project's names and turn 1x1 convolutions (out, in, 1, 1) into linear layers (out, in)."""
    translated = {}
    for key, value in weights.items():
        name = key
        for pattern, replacement in (*AUTHORS, *TIMM):
            name = re.sub(pattern, replacement, name)
        translated[name] = value.flatten(1) if name.endswith((".fc1.weight", ".fc2.weight")) else value
    return translated
