"""Networks of every family with one block per stage, which build in a moment."""

import torch

from pipeline.models import Network, build_model

TINY = {
    "poolformer_s12": dict(depths=(1, 1, 1, 1), dims=(8, 8, 16, 16)),
    "resnet18": dict(depths=(1, 1, 1, 1), dims=(8, 8, 16, 16)),
    "vit_tiny": dict(depth=4, input_size=32),
    "modified_resnet50": dict(layers=(1, 1, 1, 1), width=8, embed_dim=16, input_size=32),
    "timm": dict(backbone="test_efficientnet"),
}


def build_tiny(name: str = "poolformer_s12", **options: object) -> Network:
    """`build_model` with listed families cut down, in eval mode, with the same weights each time."""
    torch.manual_seed(0)
    return build_model(name, **TINY.get(name, {}) | options).eval()
