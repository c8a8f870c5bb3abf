"""`build_model`: names and options are checked, and each key of it does what it says."""

import pytest
import torch

from pipeline.models import build_model, model_names
from pipeline.models.registry import MODELS

TINY = dict(depths=(1, 1, 1, 1), dims=(4, 6, 8, 10))


def test_every_family_is_registered():
    expected = {
        *(f"poolformer_{size}" for size in ("t6", "s12", "s24", "s36", "m36", "m48")),
        *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
        *(f"modified_resnet{size}" for size in ("50", "101", "50x4", "50x16", "50x64")),
        *(f"vit_{size}" for size in ("tiny", "small", "base")),
        "timm",
        *("coarse_volume", "random_conv3d", "shape_measures", "stack"),
    }
    assert set(model_names()) == expected


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="unknown model 'poolfomer_s12'. Did you mean 'poolformer_s12'.* Known: "):
        build_model("poolfomer_s12")


def test_unknown_option_suggests_the_nearest():
    with pytest.raises(ValueError, match="model 'resnet18' has no option 'drop_path'. Did you mean 'drop_path_rate'"):
        build_model("resnet18", drop_path=0.1)
    with pytest.raises(ValueError, match="lora has no option 'rnak'. Did you mean 'rank'"):
        build_model("poolformer_s12", **TINY, lora={"rnak": 4})


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="'resnet18' is already registered"):
        MODELS.register("resnet18")(lambda: None)


def test_volume_mode_and_spatial_dims_exclude_each_other():
    with pytest.raises(ValueError, match="the volume mode sets spatial_dims itself"):
        build_model("resnet18", volume="slicewise", spatial_dims=2)


def test_frozen_network_trains_its_head_only():
    network = build_model("poolformer_s12", **TINY, freeze=True)
    assert {name for name, p in network.named_parameters() if p.requires_grad} == {
        "norm.weight", "norm.bias", "head.weight", "head.bias",
    }  # fmt: skip


def test_lora_trains_updates_and_the_head():
    network = build_model("poolformer_s12", **TINY, volume="slicewise", lora={"rank": 2})
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert {"head.weight", "head.bias"} < trained
    assert all("lora_" in name for name in trained - {"head.weight", "head.bias"})


@pytest.mark.parametrize("volume", [None, "slicewise"])
def test_zero_classes_give_the_embedding(volume):
    network = build_model("poolformer_s12", **TINY, num_classes=0, volume=volume)
    assert network(torch.randn(2, 1, 33, 33, 33)).shape == (2, network.num_features) == (2, 10)


def test_negative_number_of_classes_is_rejected():
    with pytest.raises(ValueError, match="num_classes must be 0"):
        build_model("poolformer_s12", **TINY, num_classes=-1)
