"""One way to build every network: by name, with its options, weights, volume mode and what stays frozen."""

from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path

# Each of these registers its names.
from pipeline.models import modified_resnet, poolformer, resnet, vit  # noqa: F401
from pipeline.models.fixed_features import FixedFeatures
from pipeline.models.lora import add_lora
from pipeline.models.mask_channels import MaskChannels, OnMaskChannels
from pipeline.models.network import Network
from pipeline.models.pretrained import encoders  # noqa: F401
from pipeline.models.pretrained.load import load_pretrained
from pipeline.models.registry import MODELS, check_keywords
from pipeline.models.stack import Stack
from pipeline.models.timm import adapter  # noqa: F401
from pipeline.models.volume import wrap


def build_model(
    name: str,
    *,
    in_channels: int = 1,
    num_classes: int = 2,
    volume: str | Mapping[str, object] | None = None,
    pretrained: str | Path | None = None,
    allow_missing: Sequence[str] = (),
    inflation: str = "center",
    freeze: bool = False,
    lora: Mapping[str, object] | None = None,
    mask_channels: Sequence[str] = (),
    **options: object,
) -> Network:
    """The network registered as `name`: (B, C, D, H, W) -> logits (B, K); `num_classes=0` gives embeddings (B, F).

    `options` are the network's own, checked by name; `spatial_dims=2` among them gives the bare network of images
    (B, C, H, W). `volume` applies the 2D network to volumes: a mode, or a mapping of `mode` and its options.
    `pretrained` is a path, a URL with `#sha256=` or `timm:NAME`; `allow_missing` names what may differ, and
    `inflation` (`center`, `mean`) sets how 2D kernels become 3D. `freeze` trains the head only; `lora`, a mapping of
    `add_lora`'s options, trains low-rank updates too. `mask_channels` (`mask`, `distance`, `thickness`) replace a mask
    in the first channel by channels made from it.
    """
    check_keywords(f"model '{name}'", MODELS.get(name), options)
    if not learns(name) and num_classes and (lora is not None or not freeze):
        raise ValueError(f"model '{name}': its features never learn, only the head does; set model.freeze: true.")

    def build(**shape: int) -> Network:
        network = MODELS.get(name)(**without_2d_only(name, shape), **options)
        if pretrained is not None:
            load_pretrained(network, pretrained, allow_missing=allow_missing, inflation=inflation)
        return network

    channels = MaskChannels(mask_channels, in_channels) if mask_channels else None
    if channels is not None:
        in_channels = len(channels.names)
    if volume is None:
        network = build(in_channels=in_channels, num_classes=num_classes)
    elif "spatial_dims" in options:
        raise ValueError(f"model '{name}': the volume mode sets spatial_dims itself; leave one of the two out")
    else:
        network = wrap(name, build, volume, in_channels=in_channels, num_classes=num_classes)
    if channels is not None:
        network = OnMaskChannels(network, channels)
    if lora is not None:
        check_keywords("lora", add_lora, lora)
        add_lora(network, **lora)
    elif freeze:
        network.freeze()
    return network


def learns(name: str) -> bool:
    """Whether the network registered as `name` has more to train than its head."""
    network = MODELS.get(name)
    return network is not build_stack and not (isinstance(network, type) and issubclass(network, FixedFeatures))


@MODELS.register("stack")
def build_stack(*, members: Mapping[str, Mapping[str, object]], in_channels: int = 1, num_classes: int = 2) -> Network:
    """Frozen networks under one head. A member has the keys of `build_model`, its network's own ones in `options`."""
    built = {
        name: build_member(name, member, in_channels=in_channels, num_classes=0) for name, member in members.items()
    }
    return Stack(built, num_classes=num_classes)


def build_member(title: str, settings: Mapping[str, object], **shape: int) -> Network:
    """The network of a mapping such as a config's section `model`; errors name it by `title`."""
    options = dict(settings.get("options") or {})
    own = {key: value for key, value in settings.items() if key != "options"}
    if "name" not in own:
        raise ValueError(f"stack member '{title}': expected the name of a model, got {settings!r}; add name.")
    check_keywords(f"stack member '{title}'", build_model, own)
    return build_model(**own, **options, **shape)


def without_2d_only(name: str, shape: Mapping[str, int]) -> dict[str, int]:
    """`shape` without `spatial_dims` if the network is 2D only."""
    known = signature(MODELS.get(name)).parameters
    return {option: value for option, value in shape.items() if option in known}
