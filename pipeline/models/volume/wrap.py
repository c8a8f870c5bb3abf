"""The one key for 2D networks on volumes: `volume=MODE` or `volume={"mode": MODE, option: value}`."""

import inspect
from typing import Protocol

from pipeline.models.network import Network
from pipeline.models.pretrained.adapt import inflate_weights
from pipeline.models.registry import Choice, builder_of, choose
from pipeline.models.volume.acs import use_acs_convolutions
from pipeline.models.volume.slice_pooling import POOLINGS
from pipeline.models.volume.slicewise import Slicewise
from pipeline.models.volume.stage_grid import StageGrid
from pipeline.models.volume.views import Planes, Slabs, Slices, View


class NetworkBuilder(Protocol):
    """A registered builder with its options and pretrained weights already bound; 2D weights inflate into 3D."""

    def __call__(self, *, spatial_dims: int, in_channels: int, num_classes: int) -> Network:
        """Build the network, for images or volumes; `num_classes=0` leaves the embedding."""
        ...


def wrap(name: str, build: NetworkBuilder, volume: Choice, *, in_channels: int, num_classes: int) -> Network:
    """The registered network `name`, which `build` builds, under a volume mode: (B, C, D, H, W) -> (B, K)."""
    mode, options = choose("volume mode", "mode", volume, MODES)
    if mode in NATIVE_MODES and not has_3d_twin(name):
        raise ValueError(
            f"volume mode '{mode.__name__}' fills the convolutions of a network's 3D twin, and '{name}' is 2D only; "
            f"use one of {', '.join(modes_of(name))}"
        )
    return mode(build, in_channels, num_classes, **options)


def has_3d_twin(name: str) -> bool:
    """Whether the builder of `name` takes `spatial_dims`, and so builds the same network for volumes."""
    return "spatial_dims" in inspect.signature(builder_of(name)).parameters


def modes_of(name: str) -> tuple[str, ...]:
    """The volume modes that apply to the registered model `name`."""
    return tuple(mode for mode, builder in MODES.items() if builder not in NATIVE_MODES or has_3d_twin(name))


def slicewise(
    build: NetworkBuilder,
    in_channels: int,
    num_classes: int,
    /,
    *,
    step: int = 1,
    pooling: Choice = "mean",
    chunk_slices: int | None = None,
    drop_rate: float = 0.0,
) -> Slicewise:
    """Every `step`-th slice along D by itself, then a pooling over slices."""
    return _read_images(build, Slices(step), in_channels, num_classes, pooling, chunk_slices, drop_rate)


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
    """2.5D: a slice with its neighbours as channels, then a pooling over such slabs."""
    view = Slabs(thickness, step)
    return _read_images(build, view, in_channels, num_classes, pooling, chunk_slices, drop_rate)


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
    return _read_images(build, view, in_channels, num_classes, pooling, chunk_slices, drop_rate)


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
    chunk_slices: int | None = None,
    drop_rate: float = 0.0,
) -> StageGrid:
    """Every `step`-th slice along D by itself, then one stage's maps pooled over a coarse grid of the volume."""
    return StageGrid(
        build(spatial_dims=2, in_channels=in_channels, num_classes=0),
        in_channels=in_channels,
        num_classes=num_classes,
        stage=stage,
        grid=grid,
        pooling=pooling,
        step=step,
        chunk_slices=chunk_slices,
        drop_rate=drop_rate,
    )


def acs(build: NetworkBuilder, in_channels: int, num_classes: int, /) -> Network:
    """The 3D twin with 2D kernels, a third of them in each plane, holding the 2D network's weights as they are."""
    network = build(spatial_dims=3, in_channels=in_channels, num_classes=num_classes)
    use_acs_convolutions(network)
    load_planar_weights(network, build(spatial_dims=2, in_channels=in_channels, num_classes=num_classes))
    return network


def inflate(build: NetworkBuilder, in_channels: int, num_classes: int, /) -> Network:
    """The 3D twin; pretrained 2D kernels are spread over depth as `build` loads them (I3D, arXiv:1705.07750)."""
    return build(spatial_dims=3, in_channels=in_channels, num_classes=num_classes)


MODES = {
    "slicewise": slicewise,
    "slab": slab,
    "triplanar": triplanar,
    "stage_grid": stage_grid,
    "acs": acs,
    "inflate": inflate,
}
NATIVE_MODES = (acs, inflate)
"""Modes that need the network's own 3D twin; the others need its 2D form alone."""


def _read_images(
    build: NetworkBuilder,
    view: View,
    in_channels: int,
    num_classes: int,
    pooling: Choice,
    chunk_slices: int | None,
    drop_rate: float,
) -> Slicewise:
    encoder = build(spatial_dims=2, in_channels=view.image_channels(in_channels), num_classes=0)
    build_pooling, options = choose("slice pooling", "name", pooling, POOLINGS)
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
    """Give `network`, whose kernels are 2D or one voxel, the weights of its 2D twin."""
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    network.load_state_dict(inflate_weights(network.translate_weights(planar.state_dict()), shapes))
