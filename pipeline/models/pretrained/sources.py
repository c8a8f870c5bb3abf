"""Sources of pretrained weights: packages, files, and the names of their keys."""

import importlib.util
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urldefrag, urlsplit

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# A block without expansion has two convolutions, one with expansion three; timm counts its norms in order.
PLAIN_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
EXPANDING_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
SQUEEZE_EXCITATION = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}


def is_efficientnet_pytorch(weights: Mapping[str, Tensor]) -> bool:
    """Whether the names are that package's."""
    return "_conv_stem.weight" in weights


def rename_to_timm(weights: Mapping[str, Tensor], depths: Sequence[int]) -> dict[str, Tensor]:
    """Rename tensors; `depths` are the network's blocks in each stage, which these files number throughout.

    What a network of these depths has no place for keeps its name.
    """
    places = [(stage, block) for stage, depth in enumerate(depths) for block in range(depth)]
    renamed = {}
    for name, value in weights.items():
        match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if match is not None and int(match[1]) < len(places):
            stage, block = places[int(match[1])]
            expands = f"_blocks.{match[1]}._expand_conv.weight" in weights
            names = (EXPANDING_BLOCK if expands else PLAIN_BLOCK) | SQUEEZE_EXCITATION
            renamed[f"blocks.{stage}.{block}.{names.get(match[2], match[2])}.{match[3]}"] = value
        else:
            module, _, leaf = name.partition(".")
            renamed[f"{OUTSIDE_BLOCKS.get(module, module)}.{leaf}"] = value
    return renamed


AUTHORS = (
    (r"^patch_embed\.proj\.", "stem."),
    (r"^network\.([0246])\.(\d+)\.", lambda m: f"stages.{int(m[1]) // 2}.blocks.{m[2]}."),
    (r"^network\.([135])\.proj\.", lambda m: f"stages.{int(m[1]) // 2 + 1}.downsample."),
    (r"\.layer_scale_([12])$", r".residual\1.scale"),
    (r"^norm([0246])\.", lambda m: f"stage_norms.{int(m[1]) // 2}."),
)
TIMM = (
    (r"^stem\.conv\.", "stem."),
    (r"\.downsample\.conv\.", ".downsample."),
    (r"\.layer_scale([12])\.scale$", r".residual\1.scale"),
    (r"^head\.norm\.", "norm."),
    (r"^head\.fc\.", "head."),
)


def translate(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename to this project's names and turn 1x1 convolutions (out, in, 1, 1) into linear layers (out, in)."""
    translated = {}
    for key, value in weights.items():
        name = key
        for pattern, replacement in (*AUTHORS, *TIMM):
            name = re.sub(pattern, replacement, name)
        translated[name] = value.flatten(1) if name.endswith((".fc1.weight", ".fc2.weight")) else value
    return translated


TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".tar", ".ckpt")
WRAPPERS = ("state_dict", "model")
"""Keys under which published files keep the weights next to other things."""


def read_weights(source: str | Path) -> dict[str, Tensor]:
    """The tensors of `source` by name: `path`, `package:NAME/FILE`, `https://...#sha256=HEX` or `timm:NAME`.

    Raises FileNotFoundError for a missing file and ValueError for anything that is not a set of tensors.
    """
    text = str(source)
    if text.startswith("timm:"):
        # timm stays behind its adapter, and is slow to import.
        from pipeline.models.timm.adapter import pretrained_weights

        return pretrained_weights(text.removeprefix("timm:"))
    if text.startswith("package:"):
        return read_file(file_in_package(text.removeprefix("package:")))
    if "://" in text:
        return read_file(download(text))
    return read_file(Path(text))


def file_in_package(text: str) -> Path:
    """`NAME/FILE` as a path inside an installed package, which is located but not imported."""
    name, _, file = text.partition("/")
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"package:{text}: no package '{name}' is installed; install it or give a path")
    return Path(spec.submodule_search_locations[0]) / file


def download(url: str) -> Path:
    """Fetch `url` once into torch's hub folder; the file must have the SHA-256 that the URL ends in."""
    address, fragment = urldefrag(url)
    digest = fragment.removeprefix("sha256=")
    if not fragment.startswith("sha256=") or len(digest) != 64:
        raise ValueError(f"{url}: expected a URL that ends in #sha256= and 64 hex digits, to check the file by")
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
    """The tensors of a .safetensors file, or of a torch file that holds nothing but tensors."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of pretrained weights")
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    if path.suffix not in TORCH_SUFFIXES:
        known = ", ".join((".safetensors", *TORCH_SUFFIXES))
        raise ValueError(f"{path}: unknown kind of weights '{path.suffix}', expected one of {known}")
    return unwrap(load_tensors(path), path)


def load_tensors(path: Path) -> object:
    """`torch.load` of tensors and plain containers; a file with code in it is refused."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{path}: cannot be read as tensors alone; it is damaged, a TorchScript archive or holds other objects. "
            "Save its state_dict as .safetensors"
        ) from error


def unwrap(content: object, path: Path) -> dict[str, Tensor]:
    """The state dict inside a checkpoint, without the prefix of data-parallel training."""
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"{path}: expected a state dict, names to tensors, bare or under {' or '.join(WRAPPERS)}")
    return {name.removeprefix("module."): value for name, value in content.items()}
