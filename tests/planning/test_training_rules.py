"""Rules about training, one at a time."""

import pytest
import torch

from pipeline.models.build import build_model
from pipeline.planning.cost import CPU, GPU_24
from pipeline.planning.training_rules import (
    plan_accumulation,
    plan_augmentation,
    plan_batch,
    plan_length,
    plan_members,
    plan_model,
    plan_stem,
)


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
def test_the_last_stage_of_the_network_has_two_tokens_per_axis(size, spacing):
    with torch.device("meta"):
        stem_stride = list(plan_stem(size, spacing).value)
        network = build_model("poolformer_s12", in_channels=1, num_classes=2, stem_stride=stem_stride)
        last = network.forward_stages(torch.empty(1, 1, *size)).stages[-1]
    assert min(last.shape[2:]) >= 2


@pytest.mark.parametrize(
    ("num_patients", "spacing", "machine", "model"),
    [
        (199, (1, 1, 1), GPU_24, "stack"),
        (5000, (1, 1, 1), CPU, "stack"),
        (1000, (1, 1, 1), GPU_24, "lora_2d"),
        (1001, (2.9, 1, 1), GPU_24, "network_3d"),
        (1001, (3, 1, 1), GPU_24, "lora_2d"),
    ],
)
def test_thick_slices_and_few_patients_get_slice_models(num_patients, spacing, machine, model):
    assert plan_model(num_patients, spacing, ("efficientnet", "random_conv"), machine).value == model


def test_one_affordable_member_is_no_stack():
    assert plan_model(100, (1, 1, 1), ("efficientnet",), CPU).value == "frozen_2d"


def test_members_follow_the_modality_and_fit_into_the_time_budget():
    assert plan_members("MR", 100, 64**3, 1.0, CPU).value[:2] == ("efficientnet", "coarse_volume")
    assert plan_members("mask", 100, 64**3, 1.0, CPU).value[:2] == ("shape", "distance_conv")
    hours = [float(plan_members("mask", 1500, 64**3, budget, CPU).reason.split()[4]) for budget in (0.05, 0.1, 0.2, 1)]
    assert all(spent <= budget + 0.005 for spent, budget in zip(hours, (0.05, 0.1, 0.2, 1), strict=True))
    numbers = [len(plan_members("mask", 1500, 64**3, budget, CPU).value) for budget in (0.001, 0.05, 0.15, 1)]
    assert numbers == sorted(numbers) and numbers[0] == 0 and numbers[-1] == 4


@pytest.mark.parametrize(
    ("num_patients", "batch_size", "accumulate"), [(10, 2, 4), (60, 3, 3), (100, 5, 2), (1000, 8, 1)]
)
def test_batches_follow_the_number_of_patients_and_updates_use_eight_scans(num_patients, batch_size, accumulate):
    assert plan_batch(num_patients, 64**3, GPU_24).value == batch_size
    assert plan_accumulation(batch_size).value == accumulate


def test_a_batch_fits_into_memory():
    assert plan_batch(1000, 160**3, CPU).value == 2
    assert plan_batch(1000, 200**3, GPU_24).value == 4


def test_training_takes_a_hundred_steps_per_scan_within_limits_and_is_cut_short_on_a_cpu():
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
