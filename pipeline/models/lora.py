"""LoRA: low-rank updates of a frozen network's layers (arXiv:2106.09685), through peft."""

import re
from collections.abc import Sequence

from torch import nn

from pipeline.models.layers import GemmConv2d, GemmConv3d
from pipeline.models.network import Network

ADAPTABLE = (nn.Linear, nn.Conv2d, nn.Conv3d, GemmConv2d, GemmConv3d)


def add_lora(
    network: Network,
    /,
    *,
    rank: int = 8,
    alpha: float = 16.0,
    drop_rate: float = 0.0,
    targets: Sequence[str] | None = None,
) -> None:
    """Freeze `network` except its head, and give its layers trainable low-rank updates, in place.

    An update starts at zero, so the outputs are unchanged. `targets` are regular expressions, one of which must be
    found in a layer's name (`blocks`, `qkv$`); without them every linear layer and ungrouped convolution before the
    head is adapted. Batch norms keep their statistics.
    """
    from peft import LoraConfig, inject_adapter_in_model  # takes seconds, and few runs need it

    network.lock(unlocked_groups=1, freeze_bn_stats=True)
    names = _chosen_layers(network, targets)
    exact = "|".join(re.escape(name) for name in names)
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=drop_rate, target_modules=exact)
    inject_adapter_in_model(config, network)
    for parameter in network.parameter_groups()["head"]:
        parameter.requires_grad_(True)


def merge_lora(network: Network) -> None:
    """Add the updates to the weights that they adapt, and put the plain layers back, in place."""
    from peft.tuners.lora import LoraLayer

    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, LoraLayer):
                layer.merge()
                setattr(parent, name, layer.get_base_layer())


def adaptable_layers(network: Network) -> list[str]:
    """Names of the layers before the head that can be adapted.

    Only these exact classes: another subclass may pad or convolve in a way that the update would not follow.
    """
    in_head = {id(parameter) for parameter in network.parameter_groups()["head"]}
    return [
        name
        for name, module in network.named_modules()
        if type(module) in ADAPTABLE and getattr(module, "groups", 1) == 1 and id(module.weight) not in in_head
    ]


def _chosen_layers(network: Network, targets: Sequence[str] | None) -> list[str]:
    names = adaptable_layers(network)
    if targets is not None:
        names = [name for name in names if any(re.search(target, name) for target in targets)]
    if not names:
        known = ", ".join(adaptable_layers(network)[:8]) or "none"
        raise ValueError(f"lora: targets {list(targets or [])} match no layer of this network; it has {known} …")
    return names
