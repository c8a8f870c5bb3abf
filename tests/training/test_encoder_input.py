"""A passport against a cohort: another input, another network, and the question of patients that it has seen."""

import logging
from pathlib import Path

import pytest

from pipeline.config import Config, Plan
from pipeline.training.auto import resolve_auto
from tests.training.small import PLAN

LITE0 = {"name": "timm", "options": {"backbone": "tf_efficientnet_lite0"}, "volume": {"mode": "slicewise"}}
LITE0 |= {"pretrained": "encoder:efficientnet_lite0", "freeze": True}
CT = {"name": "resnet152", "options": {"spatial_dims": 3, "stem_size": [3, 7, 7], "stem_stride": [1, 2, 2]}}
CT |= {"pretrained": "encoder:ct_i3resnet152", "freeze": True}
CT_PLAN = {
    "orientation": "SRA",
    "spacing_mm": (3, 1.5, 1.5),
    "intensity": {"scheme": "window", "window_hu": (-1000, 1000)},
}


def check(model: dict, *, plan: dict | None = None, **cohort: object) -> Config:
    """What every training begins with."""
    cohort = {"name": "mine", "source": {"kind": "phantom"}, "modality": "CT", "laterality": "relevant"} | cohort
    config = Config.model_validate({"name": "x", "cohort": cohort, "model": model})
    return resolve_auto(config, Plan.model_validate(PLAN.model_dump() | (plan or {})))


def test_an_encoder_of_photographs_takes_any_scan_and_asks_nothing() -> None:
    check(LITE0, modality="MR")
    check(LITE0, plan={"channels": ("a", "b")})


def test_a_cohort_with_the_input_of_the_passport_is_accepted() -> None:
    check(CT, plan=CT_PLAN, encoder_overlap={"ct_i3resnet152": "none"})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"orientation": "SPL"}, r"expects preprocess.orientation=SRA, got SPL; change that in configs/cohorts/mine"),
        ({"spacing_mm": (2, 2, 2)}, r"preprocess.spacing_mm=\[3.0, 1.5, 1.5\], got \[2.0, 2.0, 2.0\]"),
        ({"intensity": {"scheme": "window", "window_hu": (-160, 240)}}, r"preprocess.intensity=.*-1000.*, got .*-160"),
        ({"channels": ("a", "b")}, "expects 1 or 3 channels, got 2"),
    ],
)
def test_another_input_is_one_clear_error(change: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says) as raised:
        check(CT, plan=CT_PLAN | change, encoder_overlap={"ct_i3resnet152": "none"})
    assert "ct_i3resnet152.yaml: encoder 'ct_i3resnet152'" in str(raised.value) and "\n" not in str(raised.value)


def test_all_that_differs_is_named_at_once() -> None:
    with pytest.raises(ValueError, match="modality=CT, got MR; preprocess.orientation=.*; preprocess.spacing_mm=.*"):
        check(CT, modality="MR")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"options": {"backbone": "tf_efficientnet_lite1"}}, "model.options.backbone=tf_efficientnet_lite0, got tf_"),
        ({"name": "resnet18", "options": {}}, "model.name=timm, got resnet18"),
    ],
)
def test_another_network_is_refused(change: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check(LITE0 | change)


def test_patients_that_the_encoder_may_have_seen_are_asked_for() -> None:
    with pytest.raises(ValueError, match=r"patients \(Merlin.*\): are any of cohort 'mine' among them\? Answer"):
        check(CT, plan=CT_PLAN)


def test_an_overlap_that_nobody_knows_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check(CT, plan=CT_PLAN, encoder_overlap={"ct_i3resnet152": "unknown"})
    assert "whether any of cohort 'mine' are among them is unknown" in caplog.text


def test_members_of_a_stack_are_checked_too() -> None:
    members = {"ct": {key: value for key, value in CT.items() if key != "freeze"}, "conv": {"name": "random_conv3d"}}
    with pytest.raises(ValueError, match="encoder 'ct_i3resnet152' expects preprocess.orientation"):
        check({"name": "stack", "freeze": True, "options": {"members": members}})


def test_a_passport_is_found_wherever_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check(LITE0)
