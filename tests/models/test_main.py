"""The listing of `python -m pipeline.models`."""

import pytest

from pipeline.models import model_names
from pipeline.models.__main__ import models
from pipeline.models.build import learns
from tests.models.test_contract import smallest_of_each_family


def test_a_row_holds_parameters_and_modes(capsys):
    models(["poolformer_s12"], size=(32, 32, 32))
    header, row = capsys.readouterr().out.splitlines()
    assert header.split("  ")[0] == "model"
    assert row.split()[:3] == ["poolformer_s12", "3D", "15,249,602"]
    assert row.endswith("slicewise slab triplanar stage_grid acs inflate")


def test_a_2d_network_is_listed_slice_wise(capsys):
    models(["timm"], size=(2, 32, 32))
    row = capsys.readouterr().out.splitlines()[1]
    assert row.split()[:2] == ["timm", "slicewise"]
    assert row.endswith("slicewise slab triplanar stage_grid")


def test_the_volume_mode_changes_the_network(capsys):
    models(["resnet18"], size=(8, 32, 32), volume="acs", in_channels=3, num_classes=1000)
    assert capsys.readouterr().out.splitlines()[1].split()[1:3] == ["acs", "11,689,512"]


def test_every_model_has_a_row_here_the_smallest_of_each_family(capsys, monkeypatch):
    smallest = [*smallest_of_each_family(), *(name for name in model_names() if not learns(name))]
    assert set(smallest) < set(model_names())
    monkeypatch.setattr("pipeline.models.__main__.model_names", lambda: smallest)
    models(size=(32, 32, 32))
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == smallest


def test_an_unknown_model_or_mode_is_rejected_with_the_nearest():
    with pytest.raises(ValueError, match="unknown model 'resnet81'. Did you mean 'resnet18'"):
        models(["resnet81"])
    with pytest.raises(ValueError, match="unknown mode 'slab2'. Did you mean 'slab'"):
        models(["resnet18"], volume="slab2")
