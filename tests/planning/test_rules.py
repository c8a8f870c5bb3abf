"""Each rule about geometry, by itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.config import Columns
from pipeline.models.build import build_model
from pipeline.models.cost import measure
from pipeline.planning.fingerprint import Geometry
from pipeline.planning.planner import make_plan
from pipeline.planning.rules import (
    CPU,
    GPU_24,
    Work,
    forecast,
    plan_accumulation,
    plan_augmentation,
    plan_batch,
    plan_crop,
    plan_length,
    plan_model,
    plan_orientation,
    plan_spacing,
    plan_stem,
    size_of,
)
from pipeline.store.build import preprocess_cohort
from pipeline.store.store import Store
from tests.planning.balls import make_cohort, make_table, write_ball


def geometry(shape, spacing, number=5):
    return Geometry(np.tile(shape, (number, 1)).astype(float), np.tile(spacing, (number, 1)).astype(float))


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [((1, 1, 1), "SPL"), ((1, 1, 2.9), "SPL"), ((1, 1, 5), "SPL"), ((1, 5, 1), "AIL"), ((5, 1, 1), "LIP")],
)
def test_slices_lie_along_the_coarsest_axis_of_anisotropic_scans(spacing, expected):
    assert plan_orientation(geometry((50, 50, 50), spacing)).value == expected


def test_a_coarse_axis_takes_its_tenth_percentile():
    spacing = np.array([[mm, 1.0, 1.0] for mm in (4, 5, 6, 7, 8)])
    few = Geometry(np.tile([20, 256, 256], (5, 1)), spacing)
    assert plan_spacing(few).value.tolist() == pytest.approx([4.4, 1, 1])
    many = Geometry(np.tile([200, 256, 256], (5, 1)), spacing)
    assert plan_spacing(many).value.tolist() == [6, 1, 1]


def test_nothing_is_cropped_where_the_body_fills_the_scan():
    scans = geometry((50, 50, 50), (2, 2, 2))
    assert plan_crop(scans, np.array([[95.0, 98.0, 100.0]])).value == "center"
    assert plan_crop(scans, np.array([[60.0, 98.0, 100.0]])).value == "foreground"


def test_sizes_cover_the_extent_in_multiples_of_eight():
    assert size_of(np.array([96.0, 97.0, 1.0]), np.array([2.0, 2.0, 2.0])).tolist() == [48, 56, 8]


@pytest.mark.parametrize(
    ("size", "spacing", "expected"),
    [
        ((64, 96, 48), (1, 1, 1), (4, 4, 4)),
        ((40, 96, 64), (1, 1, 1), (2, 4, 4)),
        ((24, 256, 256), (6, 1, 1), (1, 4, 4)),
        ((8, 40, 64), (1, 1, 1), (1, 2, 4)),
    ],
)
def test_the_stem_strides_less_along_short_and_coarse_axes(size, spacing, expected):
    assert plan_stem(size, spacing).value == expected


@pytest.mark.parametrize("size", [(16, 16, 16), (24, 24, 24), (40, 40, 40), (48, 48, 48), (16, 24, 48), (96, 40, 160)])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (6, 1, 1)])
def test_the_last_stage_of_the_network_has_two_tokens_an_axis(size, spacing):
    with torch.device("meta"):
        stem_stride = list(plan_stem(size, spacing).value)
        network = build_model("poolformer_s12", in_channels=1, num_classes=2, stem_stride=stem_stride)
        last = network.forward_stages(torch.empty(1, 1, *size)).stages[-1]
    assert min(last.shape[2:]) >= 2


WORK = Work(
    model="network_3d",
    num_files=100,
    num_channels=1,
    num_scans=60,
    size_voxels=(48, 64, 64),
    stem_stride=(4, 4, 4),
    batch_size=2,
    max_epochs=50,
)


@pytest.mark.parametrize(
    ("num_patients", "spacing", "model"),
    [
        (199, (1, 1, 1), "frozen_2d"),
        (1000, (1, 1, 1), "lora_2d"),
        (1001, (2.9, 1, 1), "network_3d"),
        (1001, (3, 1, 1), "lora_2d"),
    ],
)
def test_thick_slices_and_few_patients_ask_for_models_of_slices(num_patients, spacing, model):
    assert plan_model(num_patients, spacing).value == model


@pytest.mark.parametrize(
    ("num_patients", "batch_size", "accumulate"), [(10, 2, 4), (60, 3, 3), (100, 5, 2), (1000, 8, 1)]
)
def test_batches_follow_the_number_of_patients_and_updates_see_eight_scans(num_patients, batch_size, accumulate):
    assert plan_batch(num_patients, 64**3, GPU_24).value == batch_size
    assert plan_accumulation(batch_size).value == accumulate


def test_a_batch_fits_into_memory():
    assert plan_batch(1000, 160**3, CPU).value == 2
    assert plan_batch(1000, 200**3, GPU_24).value == 4


def test_training_is_a_hundred_steps_a_scan_within_limits_and_cut_short_on_a_cpu():
    assert plan_length(100, 2, 64**3, GPU_24).value == 200
    assert plan_length(10, 2, 64**3, GPU_24).value == 600
    assert plan_length(10_000, 2, 64**3, GPU_24).value == 8
    cut = plan_length(400, 2, 64**3, CPU)
    assert cut.value < 200 and "cut short from 200" in cut.reason


def test_augmentation_is_stronger_for_fewer_patients():
    assert [plan_augmentation(number).value for number in (199, 200, 1000, 1001)] == [
        "strong",
        "medium",
        "medium",
        "light",
    ]


@pytest.mark.parametrize(
    ("channels", "policy"), [((), "refuse"), (("t1", "t2"), "refuse"), (("t1", "t2"), "zero")], ids=str
)
def test_the_disk_that_is_forecast_is_what_the_prepared_scans_take(tmp_path, channels, policy):
    raw, store = tmp_path / "raw", Store(tmp_path / "preprocessed")
    raw.mkdir()
    table, splits = make_table(raw, [({"radius_mm": 27.0}, "development")] * 4)
    cohort = make_cohort()
    cohort = cohort.model_copy(
        update={
            "columns": Columns(channels=channels),
            "ingest": cohort.ingest.model_copy(update={"missing_channel": policy}),
        }
    )
    if channels:
        for number in range(4):
            write_ball(raw / f"T{number}.nii.gz", radius_mm=27.0)
        table["path"] = [f"S{number}.nii.gz|T{number}.nii.gz" for number in range(4)]
    plan = make_plan(cohort, table, splits, raw)
    preprocess_cohort(table, raw, plan, store)
    taken = sum(path.stat().st_size for path in store.folder.glob("*.nii"))
    assert plan.forecast.disk_mb == pytest.approx(taken / 1e6, rel=0.1)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_memory_holds_weights_gradients_moments_and_activations(batch_size):
    cost = measure("poolformer_s12", (48, 64, 64))
    weights = 4 * cost.parameters
    least = 4 * weights + batch_size * (cost.memory_bytes - weights)
    assert least <= 1.02e6 * forecast(replace(WORK, batch_size=batch_size), CPU).value.memory_mb <= 2.5 * least


def test_a_finer_stem_costs_as_much_more_as_it_makes_more_tokens():
    coarse, fine = (forecast(replace(WORK, stem_stride=(stride,) * 3), CPU).value for stride in (4, 2))
    assert fine.seconds_per_epoch == pytest.approx(8 * coarse.seconds_per_epoch, rel=0.01)
    assert fine.memory_mb > 2 * coarse.memory_mb


def test_the_forecast_is_of_the_model_that_is_recommended():
    costs = {model: forecast(replace(WORK, model=model), CPU).value for model in ("network_3d", "lora_2d", "frozen_2d")}
    assert costs["frozen_2d"].memory_mb < costs["lora_2d"].memory_mb < costs["network_3d"].memory_mb
    assert costs["frozen_2d"].hours_per_fold == pytest.approx(costs["frozen_2d"].seconds_per_epoch / 3600, abs=0.01)
    assert costs["lora_2d"].hours_per_fold > costs["network_3d"].hours_per_fold
