"""Read pretrained weights by name: from a file, an installed package, a URL or any other registered source."""

import importlib.util
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import urldefrag, urlsplit

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from pipeline.core.io import one_line
from pipeline.core.registry import Registry

WEIGHT_SOURCES: Registry[Callable[[str], dict[str, Tensor]]] = Registry("source of pretrained weights")
"""What reads `PREFIX:REST`, by prefix; it is called with the rest. Adapters of other libraries add theirs."""
TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".tar", ".ckpt")
WRAPPERS = ("state_dict", "model")
"""Keys under which published files keep the weights beside other content."""


def read_weights(source: str | Path) -> dict[str, Tensor]:
    """The tensors of `source` by name: a path, `package:NAME/FILE`, `https://...#sha256=HEX`, `timm:`, `encoder:NAME`.

    Raises FileNotFoundError for a missing file and ValueError for anything that is not a set of tensors.
    """
    text = str(source)
    prefix, _, rest = text.partition(":")
    if prefix in WEIGHT_SOURCES:
        return WEIGHT_SOURCES.get(prefix)(rest)
    if "://" in text:
        return read_file(download(text))
    return read_file(Path(text))


@WEIGHT_SOURCES.register("package")
def read_from_package(text: str) -> dict[str, Tensor]:
    """The tensors of `NAME/FILE` inside an installed package, which is located but not imported."""
    return read_file(locate_in_package(text))


def locate_in_package(text: str) -> Path:
    """The path of `NAME/FILE` inside an installed package, which is not imported."""
    name, _, file = text.partition("/")
    # To find a package inside of another one, Python imports the outer one.
    if not name.isidentifier() or ".." in PurePosixPath(file).parts:
        raise ValueError(
            f"package:{text}: expected package:NAME/FILE, with NAME the outermost package; give a path instead"
        )
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"package:{text}: no package '{name}' is installed; install it or give a path")
    return Path(spec.submodule_search_locations[0]) / file


def download(url: str) -> Path:
    """Fetch `url` once into torch's hub folder; the file must have the SHA-256 that the URL ends in."""
    address, fragment = urldefrag(url)
    digest = fragment.removeprefix("sha256=")
    if not fragment.startswith("sha256=") or len(digest) != 64:
        raise ValueError(f"{url}: expected a URL that ends in #sha256= and 64 hex digits, to verify the file")
    # Named by its hash: another version of the file is another file.
    path = Path(torch.hub.get_dir()) / "checkpoints" / f"{digest[:16]}-{PurePosixPath(urlsplit(address).path).name}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(address, str(path), hash_prefix=digest.lower(), progress=False)
        except RuntimeError as error:
            raise ValueError(f"{address}: the file is not the one with SHA-256 {digest}; nothing was kept") from error
    return path


def read_file(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .onnx file, or of a torch file that contains only tensors."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of pretrained weights")
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    if path.suffix == ".onnx":
        return read_onnx(path)
    if path.suffix not in TORCH_SUFFIXES:
        known = ", ".join((".safetensors", ".onnx", *TORCH_SUFFIXES))
        raise ValueError(f"{path}: unknown kind of weights '{path.suffix}', expected one of {known}")
    return unwrap(load_tensors(path), path)


def read_onnx(path: Path) -> dict[str, Tensor]:
    """The constants of an ONNX graph, none of which is run.

    An exporter names a weight after its parameter, but one that it transposed or cut after a number. Such a weight gets
    the name of the node that reads it, such as `blocks.0.fc.weight` for the node `/blocks/0/fc/MatMul`, turned back.
    """
    try:
        import onnx
    except ImportError:
        raise ValueError(f"{path}: reading ONNX needs the package onnx; install it, as 'make encoder' does.") from None
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:
        # The library raises what its own code happens to raise on a damaged file.
        raise ValueError(f"{path}: not a readable ONNX file, {one_line(error)}") from None
    outside = [tensor.name for tensor in graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
        # They could be in any file of this machine.
        raise ValueError(
            f"{path}: {len(outside)} weights, such as {outside[0]}, are outside of it; save it as one file."
        )
    weights = {tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    for node in graph.node:
        for name in node.input:
            if name.startswith("onnx::") and name in weights:
                place, _, kind = node.name.removeprefix("/").replace("/", ".").rpartition(".")
                value = weights.pop(name)
                weights.update({f"{place}.weight": value.T} if kind == "MatMul" else {f"{place}.{kind}": value})
    return weights


def load_tensors(path: Path) -> object:
    """`torch.load` of tensors and plain containers; a file that contains code is rejected."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                check_stored_plainly(archive, path.stat().st_size)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile, ValueError, KeyError) as error:
        raise ValueError(
            f"{path}: cannot be read as tensors alone; it is damaged, compressed, a TorchScript archive or holds other "
            "objects. Save its state_dict as .safetensors"
        ) from error


def check_stored_plainly(archive: zipfile.ZipFile, num_bytes: int) -> None:
    """ValueError if a member is compressed, or if members overlap and are longer together than the file."""
    members = archive.infolist()
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise ValueError(f"{member.filename} is compressed, {member.compress_size} to {member.file_size} bytes")
    total = sum(member.file_size for member in members)
    if total > num_bytes:
        raise ValueError(f"its members have {total} bytes, the file has {num_bytes}")


def unwrap(content: object, path: Path) -> dict[str, Tensor]:
    """The state dict inside a checkpoint, without the prefix of data-parallel training."""
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"{path}: expected a state dict, names to tensors, bare or under {' or '.join(WRAPPERS)}")
    return {name.removeprefix("module."): value for name, value in content.items()}
