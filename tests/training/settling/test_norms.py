import logging

import pytest

from pipeline.config import Model, Training
from pipeline.training.settling.norms import settle_norm
from tests.imaging.scan_making import make_plan

IN_3D = {"spatial_dims": 3, "depths": [1, 1, 1, 1]}


def settled(model: Model, **training: object) -> Model:
    plan = make_plan(size_voxels=(16, 16, 16))
    return settle_norm(model, Training(**{"batch_size": 4} | training), plan, num_classes=2)


def test_batch_norm_over_few_scans_gives_way_to_group_norm_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert settled(Model(name="resnet18", options=IN_3D)).options == {**IN_3D, "norm": "group"}
    assert "would see 4 images a step, expected 8 or more" in caplog.text


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
def test_a_network_whose_norms_see_enough_is_left_alone(model: Model, training: dict) -> None:
    assert settled(model, **training) == model


def test_a_batch_norm_that_was_asked_for_is_refused_with_what_to_change() -> None:
    model = Model(name="resnet18", options={**IN_3D, "norm": "batch"})
    with pytest.raises(ValueError, match=r"4 images.*batch_size.*norm=group.*batch_norm=keep"):
        settled(model)
