"""Resolving `auto`: the plan's values, ineffective settings, batch norm over few images."""

import logging
import shutil
from pathlib import Path

import pytest
import torch

from pipeline.config import Augmentation, Cohort, Config, Model, Plan, Training
from pipeline.core.io import read_json, read_yaml
from pipeline.training.auto import build_network, resolve_auto, resolve_model, resolve_norm
from tests.conftest import REPOSITORY, Commands
from tests.imaging.scan_making import make_plan

FROZEN = Model(name="resnet18", options={"spatial_dims": 3}, freeze=True)


def resolve(model: Model = FROZEN, *, augmentation: dict | None = None, **training: object) -> Config:
    source = {"kind": "folder", "scans": ".", "table": "labels.csv"}
    cohort = Cohort(name="c", source=source, modality="MR", laterality="irrelevant", size_is_diagnostic=True)
    sections = {"training": Training(**training), "augmentation": Augmentation(**(augmentation or {}))}
    plan = make_plan(size_voxels=(16, 16, 16), batch_size=2, accumulate=1, max_epochs=5, model="frozen_2d")
    return resolve_auto(Config(name="x", cohort=cohort, model=model, **sections), plan)


@pytest.mark.parametrize(
    "settings",
    [
        *({"loss": "focal"}, {"sampling": "balanced"}, {"label_smoothing": 0.1}, {"ema_decay": 0.9}),
        *({"deep_supervision": (0, 0, 1, 1)}, {"optimizer": "sgd"}, {"max_epochs": 3}, {"batch_size": 8}),
        *({"devices": 2}, {"precision": "bf16-mixed"}, {"weight_decay": 0.1}, {"compile": True}),
        {"quantization_aware": True},
    ],
)
def test_an_ineffective_setting_is_rejected_by_name(settings: dict) -> None:
    key, value = next(iter(settings.items()))
    with pytest.raises(ValueError, match=f"these settings have no effect: training.{key}="):
        resolve(**settings)


def test_all_ineffective_settings_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"training.max_epochs=3, training.learning_rate=0.1, augmentation.mixup=0.2;"):
        resolve(max_epochs=3, learning_rate=0.1, augmentation={"mixup": 0.2})


def test_effective_and_implied_settings_are_accepted() -> None:
    so = {"class_weights": "balanced", "monitor": "loss", "batch_norm": "keep", "accelerator": "cpu", "patience": None}
    assert resolve(**so, augmentation={"strength": "none", "zoom": False}).training.class_weights == "balanced"


def test_the_planned_frozen_network_rejects_the_same_and_lora_rejects_nothing() -> None:
    with pytest.raises(ValueError, match="these settings have no effect: training.optimizer=sgd"):
        resolve(Model(name="auto"), optimizer="sgd")
    assert resolve(FROZEN.model_copy(update={"lora": {"rank": 2}}), optimizer="sgd").training.optimizer == "sgd"


IN_3D = {"spatial_dims": 3, "depths": [1, 1, 1, 1]}


def resolved(model: Model, **training: object) -> Model:
    plan = make_plan(size_voxels=(16, 16, 16))
    return resolve_norm(model, Training(**{"batch_size": 4} | training), plan, num_classes=2)


def test_batch_norm_over_few_scans_is_replaced_by_group_norm_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert resolved(Model(name="resnet18", options=IN_3D)).options == {**IN_3D, "norm": "group"}
    assert "would see 4 images per step, expected 8 or more" in caplog.text


@pytest.mark.parametrize(
    ("model", "training"),
    [
        (Model(name="resnet18", options=IN_3D), {"batch_size": 8}),
        (Model(name="resnet18", options=IN_3D), {"batch_norm": "keep"}),
        (Model(name="resnet18", options=IN_3D, freeze=True), {}),
        (Model(name="resnet18", options={"depths": [1, 1, 1, 1]}, volume="slicewise"), {}),
        (Model(name="poolformer_s12", options={**IN_3D, "dims": [8, 8, 8, 8]}), {}),
    ],
    ids=["many scans", "kept", "never trained", "sixteen slices a scan", "no batch norm"],
)
def test_a_network_whose_norms_see_enough_images_is_unchanged(model: Model, training: dict) -> None:
    assert resolved(model, **training) == model


def test_a_requested_batch_norm_is_rejected_with_what_to_change() -> None:
    model = Model(name="resnet18", options={**IN_3D, "norm": "batch"})
    with pytest.raises(ValueError, match=r"4 images.*batch_size.*norm=group.*batch_norm=keep"):
        resolved(model)


def planned(**lines) -> Plan:
    content = {
        "members": ("efficientnet", "coarse_volume", "random_conv_grid", "shape", "distance_conv", "distance_coarse"),
        "size_voxels": (16, 48, 40),
        "batch_size": 3,
        "accumulate": 4,
        "max_epochs": 5,
        "stem_stride": (2, 4, 2),
    }
    return make_plan(**content | {"augmentation": "medium", "model": "network_3d"} | lines)


def make_config(**sections) -> Config:
    source = {"kind": "folder", "scans": ".", "table": "labels.csv"}
    cohort = Cohort(name="c", source=source, modality="MR", laterality="irrelevant", size_is_diagnostic=True)
    return Config(name="auto", cohort=cohort, **({"model": Model(name="auto")} | sections))


def test_with_only_auto_every_value_is_the_plan_s():
    resolved = resolve_auto(make_config(), planned())
    assert (resolved.training.batch_size, resolved.training.accumulate, resolved.training.max_epochs) == (3, 4, 5)
    assert resolved.augmentation == Augmentation(strength="medium", flip_left_right=True, zoom=False)
    assert resolved.model.name == "poolformer_s12"
    assert build_network(resolved.model, num_classes=2).stem.stride == (2, 4, 2)


def test_config_values_override_the_plan():
    own = {"model": Model(name="resnet18", volume="slicewise"), "augmentation": Augmentation(strength="none")}
    resolved = resolve_auto(make_config(training=Training(batch_size=7), **own), planned())
    assert resolved.training.batch_size == 7
    assert (resolved.model, resolved.augmentation.strength) == (own["model"], "none")


@pytest.mark.parametrize(
    "model", [Model(name="auto"), Model(name="resnet18", options={"spatial_dims": 3}, freeze=True)]
)
@pytest.mark.parametrize("recommended", ["stack", "frozen_2d", "lora_2d", "network_3d"])
def test_a_resolved_config_resolves_to_itself(model, recommended):
    plan = planned(model=recommended, patience=3)
    once = resolve_auto(make_config(model=model), plan)
    assert resolve_auto(once, plan) == once


@pytest.mark.parametrize(("batch_size", "accumulate"), [(1, 8), (3, 4), (7, 2), (8, 1), (32, 1)])
def test_another_batch_size_keeps_eight_scans_per_update_and_the_number_of_steps(batch_size, accumulate):
    plan = planned(accumulate=4, max_epochs=60, patience=9)
    training = resolve_auto(make_config(training=Training(batch_size=batch_size)), plan).training
    assert training.accumulate == accumulate
    assert training.max_epochs / batch_size == 60 / 3
    assert training.patience == 9 * batch_size / 3
    own = resolve_auto(make_config(training=Training(batch_size=batch_size, max_epochs=5, accumulate=3)), plan).training
    assert (own.max_epochs, own.accumulate, own.patience) == (5, 3, None)


@pytest.mark.parametrize("origin", ["cpu_hours", "user"])
def test_truncated_or_edited_epochs_do_not_depend_on_the_batch_size(origin):
    plan = planned(max_epochs=60, patience=9, max_epochs_from=origin)
    training = resolve_auto(make_config(training=Training(batch_size=6)), plan).training
    assert (training.max_epochs, training.patience) == (60, 9)


@pytest.mark.parametrize(
    ("kind", "learns"), [("stack", "head"), ("frozen_2d", "head"), ("lora_2d", "lora_"), ("network_3d", "stem")]
)
def test_each_preset_builds_and_trains_the_right_parameters(kind, learns):
    network = build_network(resolve_model(Model(name="auto"), planned(model=kind)), num_classes=2)
    assert network(torch.zeros(1, 1, 16, 48, 40)).shape == (1, 2)
    learning = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert any(learns in name for name in learning)
    if kind in ("stack", "frozen_2d"):
        assert all("head" in name for name in learning)


@pytest.mark.parametrize(("in_plane", "stage"), [((20, 20), 1), ((40, 56), 2), ((64, 64), 2), ((96, 80), 3)])
def test_frozen_features_come_from_the_last_stage_with_enough_tokens(in_plane, stage):
    model = resolve_model(Model(name="auto"), planned(model="frozen_2d", size_voxels=(16, *in_plane)))
    network = build_network(model, num_classes=2, pretrained=False).eval()
    with torch.no_grad():
        shown = network.encoder.forward_stages(torch.zeros(1, 1, *in_plane)).stages
    assert model.volume["stage"] == stage
    assert min(shown[stage].shape[2:]) >= 3 and all(min(later.shape[2:]) < 3 for later in shown[stage + 1 :])


def test_auto_accepts_no_other_model_settings():
    with pytest.raises(ValueError, match="auto decides the whole model, got freeze"):
        Model(name="auto", freeze=True)


@pytest.mark.slow
def test_a_run_with_only_auto_writes_the_resolved_values_to_its_config(finished, tmp_path):
    for name in ("data", "cubes", "params.yaml", "configs"):
        source = finished / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    shutil.copy(REPOSITORY / "configs" / "auto.yaml", tmp_path / "configs")
    Commands(tmp_path)("train", "--config", "auto.yaml")
    run: Path = tmp_path / "runs" / "cubes" / "auto" / "fold-0-seed-0"
    plan, config = read_yaml(tmp_path / "data" / "cubes" / "plan.yaml"), read_yaml(run / "config.yaml")
    assert (config["model"]["name"], config["model"]["freeze"]) == ("stack", True)
    assert list(config["model"]["options"]["members"]) == plan["members"]
    weights = [member["weight"] for member in read_json(run / "best.json")["members"].values()]
    assert len(weights) == len(plan["members"]) and min(weights) >= 0 < max(weights)
    assert config["augmentation"]["strength"] == plan["augmentation"] == "strong"
    assert config["training"]["batch_size"] == plan["batch_size"]
    values = [value for section in ("model", "augmentation") for value in config[section].values()]
    assert "auto" not in values and (run / "best.ckpt").is_file()
