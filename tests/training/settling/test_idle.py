"""Under `freeze` a setting acts, says what is so anyway, or is refused by name."""

import pytest

from pipeline.config import Augmentation, Cohort, Config, Model, Training
from pipeline.training.settling.settle import settle_config
from tests.imaging.scan_making import make_plan

FROZEN = Model(name="resnet18", options={"spatial_dims": 3}, freeze=True)


def settle(model: Model = FROZEN, *, augmentation: dict | None = None, **training: object) -> Config:
    source = {"kind": "folder", "scans": ".", "table": "labels.csv"}
    cohort = Cohort(name="c", source=source, modality="MR", laterality="irrelevant", size_is_diagnostic=True)
    sections = {"training": Training(**training), "augmentation": Augmentation(**(augmentation or {}))}
    plan = make_plan(size_voxels=(16, 16, 16), batch_size=2, accumulate=1, max_epochs=5, model="frozen_2d")
    return settle_config(Config(name="x", cohort=cohort, model=model, **sections), plan)


@pytest.mark.parametrize(
    "settings",
    [
        *({"loss": "focal"}, {"sampling": "balanced"}, {"label_smoothing": 0.1}, {"ema_decay": 0.9}),
        *({"deep_supervision": (0, 0, 1, 1)}, {"optimizer": "sgd"}, {"max_epochs": 3}, {"batch_size": 8}),
        *({"devices": 2}, {"precision": "bf16-mixed"}, {"weight_decay": 0.1}, {"compile": True}),
        {"quantisation_aware": True},
    ],
)
def test_what_cannot_act_is_refused_by_name(settings: dict) -> None:
    key, value = next(iter(settings.items()))
    with pytest.raises(ValueError, match=f"nothing comes of training.{key}="):
        settle(**settings)


def test_all_of_them_are_named_at_once_augmentation_too() -> None:
    with pytest.raises(ValueError, match=r"training.max_epochs=3, training.learning_rate=0.1, augmentation.mixup=0.2;"):
        settle(max_epochs=3, learning_rate=0.1, augmentation={"mixup": 0.2})


def test_what_acts_and_what_is_so_anyway_is_accepted() -> None:
    so = {"class_weights": "balanced", "monitor": "loss", "batch_norm": "keep", "accelerator": "cpu", "patience": None}
    assert settle(**so, augmentation={"strength": "none", "zoom": False}).training.class_weights == "balanced"


def test_the_plan_s_frozen_network_refuses_the_same_and_low_rank_updates_refuse_nothing() -> None:
    with pytest.raises(ValueError, match="nothing comes of training.optimizer=sgd"):
        settle(Model(name="auto"), optimizer="sgd")
    assert settle(FROZEN.model_copy(update={"lora": {"rank": 2}}), optimizer="sgd").training.optimizer == "sgd"
