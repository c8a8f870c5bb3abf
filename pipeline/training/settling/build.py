"""From config to network."""

from pipeline.config import Model
from pipeline.models import Network, build_model


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
