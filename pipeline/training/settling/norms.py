"""No batch norm over a handful of scans: its statistics would be noise, and prediction would use other ones."""

import logging
from inspect import signature

import torch
from torch import Tensor, nn

from pipeline.config import Model, Plan, Training
from pipeline.models import Network
from pipeline.models.grad_checkpointing import BATCH_NORMS
from pipeline.models.registry import builder_of
from pipeline.training.settling.build import build_network

log = logging.getLogger(__name__)
SMALLEST = 8
"""Images a batch norm should see at once; a slice-wise network's sees every slice of every scan."""


def settle_norm(model: Model, training: Training, plan: Plan, num_classes: int) -> Model:
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
