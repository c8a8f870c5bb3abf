"""The cost estimate of this machine against the least that the network needs."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config import CostEstimate, Model
from pipeline.config.load import load_config
from pipeline.models.cost import measure_cost
from pipeline.training.auto import build_network
from pipeline.training.cost_estimate import estimate_cost, estimate_memory_mb, log_summary
from tests.imaging.scan_making import make_plan
from tests.test_dvc_graph import BUILDABLE, REPOSITORY
from tests.training.small import SmallTraining

NOTHING = CostEstimate(disk_mb=3, memory_mb=0, seconds_per_epoch=0, hours_per_fold=0)


@pytest.mark.slow
def test_the_estimate_sees_the_memory_of_training_after_an_earlier_peak_in_this_process():
    np.ones(200_000_000)  # An earlier high-water mark of 1.6 GB.
    size = (48, 64, 64)
    cost = measure_cost("poolformer_s12", size)
    weights = 4 * cost.parameters
    least = 4 * weights + 2 * (cost.memory_bytes - weights)
    plan = make_plan(size_voxels=size, batch_size=2, max_epochs=10, cost_estimate=NOTHING)
    found = estimate_cost(Model(name="poolformer_s12"), plan, num_scans=20)
    assert least <= 1e6 * found.memory_mb <= 3 * least
    assert found.disk_mb == 3
    assert found.hours_per_fold == pytest.approx(found.seconds_per_epoch * 10 / 3600, abs=0.01)


def line_of(training: SmallTraining, caplog: pytest.LogCaptureFixture) -> str:
    caplog.set_level(logging.INFO)
    log_summary(training.config, training.fold, training.start())
    return caplog.messages[-1]


def test_the_summary_counts_scans_and_patients_of_each_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    training = SmallTraining(tmp_path, accumulate=3)
    train = training.fold.rows["train"].assign(patient_id=["p0", "p1", "p0", *"abcdefg"])
    training.fold = replace(training.fold, rows=training.fold.rows | {"train": train})
    line = line_of(training, caplog)
    assert "10 scans of 9 patients (dark: 5 of 4 patients, light: 5 of 5 patients), validated on 4 patients" in line
    assert "3 epochs, 6 scans per update (batch 2 x 3 accumulated x 1 processes)" in line
    assert line.endswith("on CPU")


def test_a_patient_with_several_labels_counts_for_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    training = SmallTraining(tmp_path, ("one;two", "none", "two", "one"), cohort={"task": "multilabel"})
    assert "(one: 5 of 5 patients, two: 5 of 5 patients)" in line_of(training, caplog)


def test_estimated_memory_depends_on_the_network_and_grows_with_the_batch(tmp_path: Path) -> None:
    small, large = SmallTraining(tmp_path), SmallTraining(tmp_path, batch_size=4)
    wide = SmallTraining(tmp_path, options={"dims": [16, 16, 32, 32]})
    found = [estimate_memory_mb(training.config, training.fold) for training in (small, large, wide)]
    weights = sum(parameter.numel() for parameter in small.start().parameters()) * 16 / 1e6
    assert found[1] - weights == pytest.approx(2 * (found[0] - weights))
    assert found[2] > 2 * found[0]


def test_estimated_memory_is_what_autograd_keeps(tmp_path: Path) -> None:
    training = SmallTraining(tmp_path, optimizer="sgd")
    network = training.start().train()
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = network(torch.ones(2, 1, 8, 8, 8)).sum()
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    activations = sum(size for place, size in kept.items() if place not in own)
    weights = sum(parameter.numel() for parameter in network.parameters()) * 12
    assert loss.requires_grad  # the graph was alive until here
    assert estimate_memory_mb(training.config, training.fold) == pytest.approx((weights + activations) / 1e6, rel=0.05)


@pytest.mark.parametrize("config", [path for path in BUILDABLE if path.stem != "2d_frozen"], ids=lambda path: path.stem)
def test_every_shipped_network_needs_more_memory_than_its_weights(config: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    training = SmallTraining(tmp_path)
    fold = replace(training.fold, plan=training.fold.plan.model_copy(update={"size_voxels": (24, 64, 64)}))
    resolved = training.config.model_copy(update={"model": load_config(config.name, ["cohort=phantom"]).model})
    network = build_network(resolved.model, num_classes=2)
    weights = sum(parameter.numel() for parameter in network.parameters())
    assert weights * 16 / 1e6 < estimate_memory_mb(resolved, fold) < 20_000
