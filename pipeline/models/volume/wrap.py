"""2D networks on volumes, by one option: `volume=MODE` or `volume={"mode": MODE, option: value}`."""

import inspect
from collections.abc import Callable
from typing import Protocol

from pipeline.core.registry import Registry
from pipeline.models.network import Network
from pipeline.models.pretrained.load import inflate_weights
from pipeline.models.registry import MODELS, Choice, choose
from pipeline.models.volume.acs import use_acs_convolutions
from pipeline.models.volume.slice_pooling import POOLINGS
from pipeline.models.volume.slicewise import Slicewise
from pipeline.models.volume.stage_grid import StageGrid
from pipeline.models.volume.views import Planes, Slabs, Slices, View

MODES: Registry[Callable[..., Network]] = Registry("volume mode")
NATIVE_MODES = ("acs", "inflate")
"""Modes that need the 3D form of the network; the others need its 2D form only."""


class NetworkBuilder(Protocol):
    """A registered builder with its options and pretrained weights already bound; 2D weights inflate into 3D."""

    def __call__(self, *, spatial_dims: int, in_channels: int, num_classes: int) -> Network:
        """Build the network, for images or volumes; `num_classes=0` leaves the embedding."""
        ...


def wrap(name: str, build: NetworkBuilder, volume: Choice, *, in_channels: int, num_classes: int) -> Network:
    """The registered network `name`, which `build` builds, under a volume mode: (B, C, D, H, W) -> (B, K)."""
    build_mode, options = choose(MODES, volume, key="mode")
    mode = volume if isinstance(volume, str) else volume["mode"]
    if mode not in volume_modes(name):
        raise ValueError(
            f"volume mode '{mode}' fills the convolutions of a 3D network, and '{name}' is 2D only; "
            f"use one of {', '.join(volume_modes(name))}"
        )
    return build_mode(build, in_channels, num_classes, **options)


def supports_3d(name: str) -> bool:
    """Whether the builder of `name` takes `spatial_dims`, and can thus build the same network for volumes."""
    return "spatial_dims" in inspect.signature(MODELS.get(name)).parameters


def volume_modes(name: str) -> tuple[str, ...]:
    """The volume modes that apply to the registered model `name`."""
    return tuple(mode for mode in MODES if mode not in NATIVE_MODES or supports_3d(name))


@MODES.register("slicewise")
def slicewise(
    build: NetworkBuilder,
    in_channels: int,
    num_classes: int,
    /,
    *,
    step: int = 1,
    axis: int = 0,
    pooling: Choice = "mean",
    chunk_slices: int | None = None,
    drop_rate: float = 0.0,
) -> Slicewise:
    """Every `step`-th slice along `axis` (0 for D) on its own, then a pooling over slices."""
    return _encode_images(build, Slices(step, axis), in_channels, num_classes, pooling, chunk_slices, drop_rate)


@MODES.register("slab")
def slab(
    build: NetworkBuilder,
    in_channels: int,
    num_classes: int,
    /,
    *,
    thickness: int = 3,
    step: int = 1,
    pooling: Choice = "mean",
    chunk_slices: int | None = None,
    drop_rate: float = 0.0,
) -> Slicewise:
    """2.5D: a slice with its neighbors as channels, then a pooling over such slabs."""
    view = Slabs(thickness, step)
    return _encode_images(build, view, in_channels, num_classes, pooling, chunk_slices, drop_rate)


@MODES.register("triplanar")
def triplanar(
    build: NetworkBuilder,
    in_channels: int,
    num_classes: int,
    /,
    *,
    slices_per_plane: int | None = None,
    pooling: Choice = "mean",
    chunk_slices: int | None = None,
    drop_rate: float = 0.0,
) -> Slicewise:
    """Slices along all three axes through one network, pooled together."""
    view = Planes(slices_per_plane)
    return _encode_images(build, view, in_channels, num_classes, pooling, chunk_slices, drop_rate)


@MODES.register("stage_grid")
def stage_grid(
    build: NetworkBuilder,
    in_channels: int,
    num_classes: int,
    /,
    *,
    stage: int = 2,
    grid: int = 2,
    pooling: Choice = "mean",
    step: int = 1,
    axis: int = 0,
    chunk_slices: int | None = None,
    drop_rate: float = 0.0,
) -> StageGrid:
    """Every `step`-th slice along `axis` on its own, then one stage's maps pooled over a coarse grid of the volume."""
    return StageGrid(
        build(spatial_dims=2, in_channels=in_channels, num_classes=0),
        in_channels=in_channels,
        num_classes=num_classes,
        stage=stage,
        grid=grid,
        pooling=pooling,
        step=step,
        axis=axis,
        chunk_slices=chunk_slices,
        drop_rate=drop_rate,
    )


@MODES.register("acs")
def acs(build: NetworkBuilder, in_channels: int, num_classes: int, /) -> Network:
    """The 3D network with 2D kernels, a third of them in each plane, and the unchanged weights of the 2D network."""
    network = build(spatial_dims=3, in_channels=in_channels, num_classes=num_classes)
    use_acs_convolutions(network)
    load_planar_weights(network, build(spatial_dims=2, in_channels=in_channels, num_classes=num_classes))
    return network


@MODES.register("inflate")
def inflate(build: NetworkBuilder, in_channels: int, num_classes: int, /) -> Network:
    """The 3D network; `build` inflates pretrained 2D kernels over depth when it loads them (I3D, arXiv:1705.07750)."""
    return build(spatial_dims=3, in_channels=in_channels, num_classes=num_classes)


def _encode_images(
    build: NetworkBuilder,
    view: View,
    in_channels: int,
    num_classes: int,
    pooling: Choice,
    chunk_slices: int | None,
    drop_rate: float,
) -> Slicewise:
    encoder = build(spatial_dims=2, in_channels=view.image_channels(in_channels), num_classes=0)
    build_pooling, options = choose(POOLINGS, pooling)
    return Slicewise(
        encoder,
        view,
        build_pooling(encoder.num_features, **options),
        in_channels=in_channels,
        num_classes=num_classes,
        chunk_slices=chunk_slices,
        drop_rate=drop_rate,
    )


def load_planar_weights(network: Network, planar: Network) -> None:
    """Load the weights of the 2D network into `network`, whose kernels are 2D or one voxel."""
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    network.load_state_dict(inflate_weights(network.translate_weights(planar.state_dict()), shapes))
