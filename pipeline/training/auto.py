"""Resolve every `auto` of a config from the plan and the cohort, and check what the result would ignore."""

import logging
import math
from collections.abc import Iterator
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config import Augmentation, Config, Model, Plan, Training
from pipeline.config.plan import EFFECTIVE_BATCH
from pipeline.data.augmentation.pipeline import resolve_augmentation
from pipeline.models import Network, build_model
from pipeline.models.network import BATCH_NORMS
from pipeline.models.registry import MODELS
from pipeline.training.encoder_input import check_encoders
from pipeline.training.losses import LOSSES

log = logging.getLogger(__name__)
MIN_BATCH_NORM_IMAGES = 8
"""Images that a batch norm should see in a step; one in a slice-wise network sees every slice of every scan."""

BACKBONE = "tf_efficientnet_lite0"
WEIGHTS = "encoder:efficientnet_lite0"
"""ImageNet weights from an installed package: nothing is downloaded."""
STAGE_STRIDES = (4, 8, 16, 32)
"""Pixels per token in each stage of the backbone."""
MIN_TOKENS = 3
"""Tokens along an image's shorter side that a stage needs to retain spatial information."""
CHUNK_SLICES = 16

EFFECTIVE = {"training.monitor", "training.class_weights"}
"""Settings that a logistic head uses."""
IMPLIED = {"training.loss": "cross_entropy", "training.accelerator": "cpu", "training.batch_norm": "keep"}
"""Values that describe how a logistic head is fitted anyway."""
OFF: tuple[Any, ...] = (None, False, 0, "none", {})


def resolve_auto(config: Config, plan: Plan) -> Config:
    """The config without `auto`, as it is run and written to config.yaml."""
    if config.training.loss != "auto":
        LOSSES.get(config.training.loss)
    config = config.model_copy(update={"model": resolve_model(config.model, plan)})
    check_encoders(config, plan)
    defaults = config.model_copy(update={"training": Training(), "augmentation": Augmentation()})
    check_ineffective_settings(config, resolve_sections(defaults, plan))
    return resolve_sections(config, plan)


def resolve_sections(config: Config, plan: Plan) -> Config:
    """The config with the plan's values for every `auto` of training and augmentation."""
    resolved = {
        "augmentation": resolve_augmentation(config.augmentation, config.cohort, plan),
        "training": resolve_training(config.training, plan),
    }
    return config.model_copy(update=resolved)


def resolve_training(training: Training, plan: Plan) -> Training:
    """The settings with the plan's values for every `auto`, adapted to the batch size that is used."""
    batch_size = plan.batch_size if training.batch_size == "auto" else training.batch_size
    # Larger batches need more epochs for the planned number of steps.
    factor = batch_size / plan.batch_size if plan.is_length_by_steps else 1.0
    planned = {
        "batch_size": batch_size,
        "accumulate": plan.accumulate if batch_size == plan.batch_size else math.ceil(EFFECTIVE_BATCH / batch_size),
        "max_epochs": max(1, round(factor * plan.max_epochs)),
        # Planned for the plan's number of epochs, and undefined for another one.
        "patience": math.ceil(factor * plan.patience) if plan.patience and training.max_epochs == "auto" else None,
    }
    return training.model_copy(
        update={key: value for key, value in planned.items() if getattr(training, key) == "auto"}
    )


def check_ineffective_settings(config: Config, defaults: Config) -> None:
    """ValueError if a setting differs from its default and has no effect.

    `config` is as given, its model resolved. `defaults` has every setting at its resolved default: the config.yaml of
    an earlier run contains these values, and they request nothing.
    """
    if config.model.learns_by_gradient:
        return
    ineffective = [f"{key}={value}" for key, value in ineffective_settings(config, defaults)]
    if ineffective:
        raise ValueError(
            "model.freeze: a logistic head is fitted on features that are computed once, so these settings have no "
            f"effect: {', '.join(ineffective)}; leave them out, or choose a model with freeze: false."
        )


def ineffective_settings(config: Config, defaults: Config) -> Iterator[tuple[str, Any]]:
    """Keys and values of training and augmentation that a logistic head ignores."""
    for name in ("training", "augmentation"):
        section, resolved = getattr(config, name), getattr(defaults, name)
        for field, info in type(section).model_fields.items():
            key, value = f"{name}.{field}", getattr(section, field)
            accepted = (info.default, getattr(resolved, field), IMPLIED.get(key), *OFF)
            if key not in EFFECTIVE and value not in accepted:
                yield key, value


def resolve_model(model: Model, plan: Plan) -> Model:
    """The model that the plan recommends, if the config says `auto`; networks that measure in mm learn the spacing."""
    model = preset(plan) if model.name == "auto" else model
    return model.model_copy(update={"options": with_spacing(model.name, model.options, plan)})


def with_spacing(name: str, options: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """The options of a network, or of each member of a stack, with the plan's `spacing_mm` where it takes one."""
    own = dict(options)
    if "spacing_mm" in signature(MODELS.get(name)).parameters:
        own.setdefault("spacing_mm", list(plan.spacing_mm))
    if isinstance(own.get("members"), dict):
        own["members"] = {title: with_member_spacing(member, plan) for title, member in own["members"].items()}
    return own


def with_member_spacing(member: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """A member with the plan's spacing; one without a known name is left for `build_model` to reject."""
    options = with_spacing(member["name"], member.get("options") or {}, plan) if member.get("name") in MODELS else {}
    return {**member, "options": options} if options else member


def preset(plan: Plan) -> Model:
    """The model section of the plan's recommendation."""
    return {"stack": stack, "frozen_2d": frozen_2d, "lora_2d": lora_2d, "network_3d": network_3d}[plan.model](plan)


def stack(plan: Plan) -> Model:
    """The members that the plan chose, each with frozen features, weighted by a logistic layer."""
    members = {
        "efficientnet": frozen_2d,
        "coarse_volume": lambda _: Model(name="coarse_volume"),
        "random_conv_grid": lambda _: Model(name="random_conv3d", options={"num_kernels": 48, "grid": 4}),
        "random_conv": lambda _: Model(name="random_conv3d"),
        "distance_conv": lambda _: Model(name="random_conv3d", mask_channels=("distance",)),
        "distance_coarse": lambda _: Model(name="coarse_volume", mask_channels=("distance",)),
        "shape": lambda _: Model(name="shape_measures"),
    }
    # A member's own `freeze` would say nothing: the whole stack is frozen.
    chosen = {
        name: members[name](plan).model_dump(mode="json", exclude={"freeze"}, exclude_defaults=True)
        for name in plan.members
    }
    return Model(name="stack", options={"members": chosen}, freeze=True)


def frozen_2d(plan: Plan) -> Model:
    """ImageNet features of axial slices, their maxima over a 3x3x3 grid, and a logistic head."""
    stage = feature_stage(plan)
    volume = {"mode": "stage_grid", "stage": stage, "grid": 3, "pooling": "max", "chunk_slices": CHUNK_SLICES}
    return Model(name="timm", options={"backbone": BACKBONE}, volume=volume, pretrained=WEIGHTS, freeze=True)


def lora_2d(plan: Plan) -> Model:
    """ImageNet features of axial slices, adapted by LoRA and pooled by attention."""
    volume = {"mode": "slicewise", "pooling": "attention", "chunk_slices": CHUNK_SLICES}
    return Model(name="timm", options={"backbone": BACKBONE}, volume=volume, pretrained=WEIGHTS, lora={})


def network_3d(plan: Plan) -> Model:
    """A 3D PoolFormer whose stem leaves the last stage two tokens along each axis."""
    options = {"spatial_dims": 3, "drop_path_rate": 0.1, "stem_stride": list(plan.stem_stride)}
    return Model(name="poolformer_s12", options=options)


def feature_stage(plan: Plan) -> int:
    """The last stage whose map of a slice has enough tokens, from 0."""
    shorter = min(plan.size_voxels[1:])
    tokens = [-(-shorter // stride) for stride in STAGE_STRIDES]
    return max((stage for stage, number in enumerate(tokens) if number >= MIN_TOKENS), default=0)


def resolve_norm(model: Model, training: Training, plan: Plan, num_classes: int) -> Model:
    """The same model with group norm instead of a batch norm that would see too few images in a step.

    Raises ValueError if the network has no such option, or its weights were trained with batch norm. `training` has no
    `auto` left.
    """
    if training.batch_norm == "keep" or not model.learns_by_gradient:
        return model
    # On the meta device nothing is allocated or computed, and no random number is drawn.
    with torch.device("meta"):
        network = build_network(model, num_classes=num_classes, in_channels=plan.in_channels, pretrained=False)
        images = images_per_scan(network, torch.empty(1, plan.in_channels, *plan.size_voxels))
    if images is None or images * training.batch_size >= MIN_BATCH_NORM_IMAGES:
        return model
    problem = f"batch norm would see {images * training.batch_size} images per step, expected {MIN_BATCH_NORM_IMAGES}"
    can_change = "norm" in signature(MODELS.get(model.name)).parameters
    if not can_change or model.pretrained or "norm" in model.options:
        raise ValueError(
            f"model {model.name}: {problem} or more; raise training.batch_size"
            f"{', set model.options.norm=group' if can_change else ''}, or accept it with training.batch_norm=keep."
        )
    log.info("%s: %s or more; group norm replaces it (training.batch_norm=keep would keep it)", model.name, problem)
    return model.model_copy(update={"options": {**model.options, "norm": "group"}})


@torch.no_grad()
def images_per_scan(network: Network, volume: Tensor) -> int | None:
    """The fewest images that a trained batch norm sees of one scan (1, C, D, H, W); None without such a norm."""
    trained = [module for module in network.train().modules() if isinstance(module, BATCH_NORMS) and module.training]
    counts: list[int] = []

    def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        counts.append(len(inputs[0]))

    hooks = [norm.register_forward_pre_hook(count) for norm in trained]
    if trained:
        network.eval()(volume)
    for hook in hooks:
        hook.remove()
    return min(counts, default=None)


def build_network(model: Model, *, num_classes: int, in_channels: int = 1, pretrained: bool = True) -> Network:
    """The network of a config; pass `pretrained=False` if its weights will be loaded from a checkpoint."""
    options = model.options if pretrained else without_pretrained(model.options)
    return build_model(
        model.name,
        in_channels=in_channels,
        num_classes=num_classes,
        volume=model.volume,
        pretrained=model.pretrained if pretrained else None,
        allow_missing=model.allow_missing,
        freeze=model.freeze,
        lora=model.lora,
        mask_channels=model.mask_channels,
        **options,
    )


def without_pretrained(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a model, whose members, if it is a stack, load no weights of their own."""
    members = options.get("members")
    if not isinstance(members, dict):
        return options
    bare = {
        name: {key: value for key, value in member.items() if key != "pretrained"} for name, member in members.items()
    }
    return {**options, "members": bare}
