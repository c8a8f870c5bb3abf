"""Sources of pretrained weights: files, packages and URLs; damaged files and files with code are rejected."""

import hashlib
import sys
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.models.pretrained.sources import read_weights

WEIGHTS = {"stem.weight": torch.arange(6.0).reshape(2, 3), "head.bias": torch.tensor([1.0, -1.0])}


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Log no requests."""


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
    assert found.keys() == WEIGHTS.keys()
    assert all(torch.equal(found[name], value) for name, value in WEIGHTS.items())


def test_safetensors_file_is_read(tmp_path):
    save_file(WEIGHTS, tmp_path / "weights.safetensors")
    assert_same(read_weights(tmp_path / "weights.safetensors"))


@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        {"state_dict": WEIGHTS, "epoch": 3},
        {"model": WEIGHTS},
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".bin"])
def test_torch_file_is_read_bare_or_wrapped(tmp_path, content, suffix):
    torch.save(content, tmp_path / f"weights{suffix}")
    assert_same(read_weights(str(tmp_path / f"weights{suffix}")))


def test_prefix_of_data_parallel_training_is_taken_off(tmp_path):
    torch.save({f"module.{name}": value for name, value in WEIGHTS.items()}, tmp_path / "weights.pth")
    assert_same(read_weights(tmp_path / "weights.pth"))


def test_url_with_the_right_hash_is_fetched_once(served):
    folder, address = served
    save_file(WEIGHTS, folder / "weights.safetensors")
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    url = f"{address}/weights.safetensors#sha256={digest}"
    assert_same(read_weights(url))
    (folder / "weights.safetensors").unlink()
    assert_same(read_weights(url))


def test_url_with_another_hash_is_rejected_and_nothing_kept(served, tmp_path):
    folder, address = served
    save_file(WEIGHTS, folder / "weights.safetensors")
    with pytest.raises(ValueError, match="not the one with SHA-256 0000"):
        read_weights(f"{address}/weights.safetensors#sha256={'0' * 64}")
    assert not [path for path in (tmp_path / "torch").rglob("*") if path.is_file()]


@pytest.mark.parametrize("fragment", ["", "#sha256=abc", f"#md5={'0' * 64}"])
def test_url_without_a_hash_is_rejected(fragment):
    with pytest.raises(ValueError, match="expected a URL that ends in #sha256="):
        read_weights(f"https://example.org/weights.safetensors{fragment}")


class RunsWhenUnpickled:
    def __reduce__(self):
        return Path.touch, (Path("ran"),)


def test_file_with_code_is_rejected_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"stem.weight": RunsWhenUnpickled()}, "weights.pth")
    with pytest.raises(ValueError, match=r"weights.pth: cannot be read as tensors alone"):
        read_weights("weights.pth")
    assert not Path("ran").exists()


def test_a_package_is_located_and_never_imported(tmp_path, monkeypatch):
    inner = tmp_path / "planted" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        (folder / "__init__.py").write_text("raise SystemExit('imported')\n")
        save_file(WEIGHTS, folder / "w.safetensors")
    monkeypatch.syspath_prepend(tmp_path)
    assert_same(read_weights("package:planted/w.safetensors"))
    assert_same(read_weights("package:planted/inner/w.safetensors"))
    for name in ("planted.inner/w.safetensors", "planted/../w.safetensors", "/w.safetensors", ".planted/w.safetensors"):
        with pytest.raises(ValueError, match="expected package:NAME/FILE"):
            read_weights(f"package:{name}")
    assert "planted" not in sys.modules


def test_compressed_members_are_rejected_before_they_inflate(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(WEIGHTS, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match="weights.pth: cannot be read as tensors alone; it is damaged, compressed"):
        read_weights(path)


@pytest.mark.parametrize("suffix, words", [(".pth", "cannot be read as tensors"), (".safetensors", "not a readable")])
def test_truncated_file_is_rejected(tmp_path, suffix, words):
    path = tmp_path / f"weights{suffix}"
    torch.save(WEIGHTS, path) if suffix == ".pth" else save_file(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[:-20] if suffix == ".safetensors" else path.read_bytes()[:200])
    with pytest.raises(ValueError, match=words):
        read_weights(path)


def test_torch_file_that_is_not_a_state_dict_is_rejected(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="expected a state dict"):
        read_weights(tmp_path / "weights.pth")


def test_missing_file_and_unknown_suffix_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.pth: no such file"):
        read_weights(tmp_path / "absent.pth")
    (tmp_path / "weights.h5").write_bytes(b"")
    with pytest.raises(ValueError, match="unknown kind of weights '.h5', expected one of .safetensors"):
        read_weights(tmp_path / "weights.h5")
