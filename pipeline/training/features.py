"""The frozen route: a network that never learns gives features, computed once, and a head is fitted on them.

Axes: B batch, C channels, D H W depth height width, F features. Features are what `forward_features` gives
and `forward_head` takes, so that any head, pooling over slices included, can be trained on stored ones.
"""

import hashlib
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from pipeline.core.io import whole_file
from pipeline.models.network import Network

ENTRY = "features"
"""The name of the only tensor in a cache file."""


class FeatureCache:
    """Features of a frozen network on disk, one safetensors file a volume, each computed once.

    Files are named by what they were computed from: a folder for the network (structure and every weight
    before the head), a file for the volume's voxels. Neither can change without the name changing,
    so an old entry is never taken for a new one.
    """

    def __init__(self, folder: Path, network: Network) -> None:
        self.network = network
        self.folder = Path(folder) / fingerprint(network)
        self.folder.mkdir(parents=True, exist_ok=True)

    def features(self, volume: Tensor) -> Tensor:
        """`forward_features` of one volume (C, D, H, W), without its batch axis."""
        path = self.folder / f"{digest(volume)}.safetensors"
        stored = _read_entry(path)
        if stored is not None:
            return stored
        computed = _compute_features(self.network, volume)
        _write_entry(path, computed)
        return computed

    def embeddings(self, volumes: Iterable[Tensor]) -> Tensor:
        """Pooled embeddings (B, F) of volumes (C, D, H, W), which are read one at a time."""
        return torch.stack([_pool(self.network, self.features(volume)) for volume in volumes])


def fingerprint(network: Network) -> str:
    """A name for the structure of `network` and for all its weights but those of the head."""
    head = {id(parameter) for parameter in network.parameter_groups()["head"]}
    names_in_head = {name for name, parameter in network.named_parameters() if id(parameter) in head}
    hasher = hashlib.sha256(repr(network).encode())
    for name, tensor in network.state_dict().items():
        if name not in names_in_head:
            hasher.update(name.encode())
            hasher.update(_bytes_of(tensor))
    return hasher.hexdigest()[:16]


def digest(volume: Tensor) -> str:
    """A name for the voxels, shape and type of a volume."""
    return hashlib.sha256(f"{tuple(volume.shape)} {volume.dtype}".encode() + _bytes_of(volume)).hexdigest()


def _bytes_of(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


@torch.no_grad()
def _compute_features(network: Network, volume: Tensor) -> Tensor:
    network.eval()
    device = device_of(network)
    return network.forward_features(volume.unsqueeze(0).to(device))[0].cpu()


@torch.no_grad()
def _pool(network: Network, features: Tensor) -> Tensor:
    network.eval()
    device = device_of(network)
    return network.forward_head(features.unsqueeze(0).to(device), pre_logits=True)[0].cpu()


def device_of(network: Network) -> torch.device:
    """Where its weights are; the CPU for a network without any."""
    tensors = chain(network.parameters(), network.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def _read_entry(path: Path) -> Tensor | None:
    """The stored features; none if there are none, or if the file is damaged and must be written again."""
    try:
        return load_file(path)[ENTRY]
    except (FileNotFoundError, SafetensorError):
        return None


def _write_entry(path: Path, features: Tensor) -> None:
    with whole_file(path, is_one_of_many=True) as temporary:
        temporary.write_bytes(save({ENTRY: features.contiguous()}))
