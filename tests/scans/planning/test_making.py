"""The plan follows from geometry and intensity, and from nothing else."""

from itertools import permutations

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from pipeline.config import Cohort, Ingest, Plan, Preprocess, Suv
from pipeline.folds import fold_numbers, rows_of_fold
from pipeline.models.build import build_model
from pipeline.resolve import check_file
from pipeline.scans.checking.scan import check_scan
from pipeline.scans.planning.file import edits_of, write_plan
from pipeline.scans.planning.fingerprint import Geometry, choose_scans, read_geometry
from pipeline.scans.planning.making import make_plan
from pipeline.scans.planning.remaking import replan
from pipeline.scans.planning.rules import plan_crop, plan_orientation, plan_spacing, plan_stem, size_of
from pipeline.scans.planning.training import (
    CPU,
    GPU_24,
    plan_accumulation,
    plan_augmentation,
    plan_batch,
    plan_length,
    plan_model,
)


def write_ball(path, shape=(30, 36, 28), spacing=(2.0, 2.0, 2.0), orientation="RAS", radius_mm=20.0, kind="MR"):
    """A ball in empty space whose shape and spacing are along R, A, S, saved in an orientation."""
    points = np.stack(
        np.meshgrid(*((np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing, strict=True)), indexing="ij")
    )
    inside = (points**2).sum(0) < radius_mm**2
    noise = np.random.default_rng(0).normal(0, 20, shape)
    volume = {
        "MR": np.where(inside, 500 + noise, 0),
        "CT": np.where(inside, 40 + noise, -1000),
        "mask": inside,
    }[kind].astype(np.int16)
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(orientation))
    affine = np.diag([*spacing, 1.0]) @ inv_ornt_aff(turn, shape)
    nibabel.save(nibabel.Nifti1Image(nibabel.apply_orientation(volume, turn), affine), path)


def make_table(folder, scans):
    """Rows of cohort.csv and splits.csv for (scan options, split) pairs; every scan is a patient."""
    rows, splits = [], []
    for number, (options, split) in enumerate(scans):
        write_ball(folder / f"S{number}.nii.gz", **options)
        facts = check_scan(folder / f"S{number}.nii.gz").facts
        rows.append(
            {
                "scan_id": f"S{number}",
                "patient_id": f"P{number}",
                "path": f"S{number}.nii.gz",
                "label": "ab"[number % 2],
                "shape": "x".join(map(str, facts.shape)),
                "spacing_mm": "x".join(f"{size:.6g}" for size in facts.spacing_mm),
                "orientation": facts.orientation,
            }
        )
        splits.append(
            {
                "scan_id": f"S{number}",
                "patient_id": f"P{number}",
                "split": split,
                "fold": None if split == "test" else number % 2,
            }
        )
    return pd.DataFrame(rows), pd.DataFrame(splits).astype({"fold": "Int64"})


def make_cohort(modality="MR", ingest=None, **preprocess):
    return Cohort(
        name="balls",
        source={"kind": "folder", "scans": ".", "table": "labels.csv"},
        positive_class="b",
        modality=modality,
        laterality="irrelevant",
        ingest=ingest or Ingest(),
        preprocess=Preprocess(**preprocess),
    )


def plan_of(folder, scans, cohort=None):
    table, splits = make_table(folder, scans)
    return make_plan(cohort or make_cohort(), table, splits, folder)


DEVELOPMENT = [({}, "development")] * 4


def test_the_input_covers_the_body_with_a_margin_and_no_more(tmp_path):
    plan = plan_of(tmp_path, DEVELOPMENT)
    assert plan.spacing_mm == (2, 2, 2)
    # A ball of 40 mm and 5 %: 42 mm, 21 voxels, rounded up to a multiple of eight.
    assert plan.size_voxels == (24, 24, 24)
    assert plan.crop == "foreground"


@pytest.mark.parametrize(
    "orientation",
    ["".join(o) for axes in permutations(["RL", "AP", "IS"]) for o in [[a[0] for a in axes], [a[1] for a in axes]]],
)
def test_the_plan_does_not_depend_on_how_files_order_their_axes(tmp_path, orientation):
    options = {"shape": (40, 30, 20), "spacing": (1.0, 2.0, 3.0), "radius_mm": 15.0, "orientation": orientation}
    plan = plan_of(tmp_path, [(options, "development")] * 2)
    assert (plan.orientation, plan.spacing_mm) == ("SPL", (3, 2, 1))


def test_labels_and_test_scans_are_not_looked_at(tmp_path):
    strange = {"shape": (60, 60, 60), "spacing": (4.0, 4.0, 4.0), "radius_mm": 90.0}
    table, splits = make_table(tmp_path, [*DEVELOPMENT, (strange, "test")])
    plan = make_plan(make_cohort(), table, splits, tmp_path)
    (tmp_path / "S4.nii.gz").write_bytes(b"cannot be read")
    again = make_plan(make_cohort(), table.assign(label="z"), splits, tmp_path)
    assert again == plan
    assert plan.measured == ("S0", "S1", "S2", "S3")
    assert plan.size_voxels == (24, 24, 24)


def test_what_the_config_says_beats_the_rules_and_the_reason_says_so(tmp_path):
    cohort = make_cohort(spacing_mm=(4, 3, 3), orientation="AIL", tilt="straighten", intensity={"scheme": "rescale"})
    plan = plan_of(tmp_path, DEVELOPMENT, cohort)
    assert (plan.spacing_mm, plan.orientation, plan.tilt, plan.intensity.scheme) == (
        (4, 3, 3),
        "AIL",
        "straighten",
        "rescale",
    )
    assert plan.size_voxels == (16, 16, 16)
    told = [key for key, reason in plan.reasons.items() if reason == "set in the config of balls"]
    assert sorted(told) == ["intensity", "orientation", "spacing_mm", "tilt"]


def test_every_line_of_the_plan_has_a_reason(tmp_path):
    plan = plan_of(tmp_path, DEVELOPMENT)
    assert set(plan.reasons) == set(Plan.model_fields) - {"reasons", "digests", "measured", "standards"}
    assert all(len(reason) > 10 for reason in plan.reasons.values())


def test_a_size_in_the_config_is_kept_and_voxels_are_made_coarser_to_cover_the_body(tmp_path):
    plan = plan_of(tmp_path, DEVELOPMENT, make_cohort(size_voxels=(16, 16, 16)))
    assert plan.size_voxels == (16, 16, 16)
    assert all(16 * mm >= 40 for mm in plan.spacing_mm)
    assert max(plan.spacing_mm) < 3


@pytest.mark.parametrize("folds", ["nested", "from 1"])
def test_training_scans_are_counted_as_the_first_fold_has_them(tmp_path, folds):
    table, splits = make_table(tmp_path, [({}, "nested" if folds == "nested" else "development")] * 12)
    splits["fold"] = pd.array([number % 3 + (folds == "from 1") for number in range(12)], "Int64")
    plan = make_plan(make_cohort(), table, splits, tmp_path)
    train = rows_of_fold(splits, fold_numbers(splits)[0])["train"]
    assert len(train) == (4 if folds == "nested" else 8)
    assert f"of {len(train)} training patients" in plan.reasons["batch_size"]
    assert f"of {len(train)} training scans" in plan.reasons["max_epochs"]


def test_a_body_too_large_for_the_machine_is_coarsened_up_to_twice_then_a_region_is_asked_for(tmp_path):
    assert plan_of(tmp_path, DEVELOPMENT, make_cohort(max_voxels=8**3 * 8)).spacing_mm[0] > 2.5
    with pytest.raises(ValueError, match="name a region by size_voxels"):
        plan_of(tmp_path, DEVELOPMENT, make_cohort(max_voxels=500))


def test_nan_voxels_are_filled_as_at_ingestion(tmp_path):
    plan = plan_of(tmp_path, DEVELOPMENT, make_cohort(ingest=Ingest(fill_nonfinite=0.0)))
    assert plan.fill_nonfinite == 0.0


@pytest.mark.parametrize(
    ("modality", "kind", "scheme"),
    [("CT", "CT", "window"), ("MR", "MR", "zscore"), ("mask", "mask", "unchanged"), ("other", "MR", "rescale")],
)
def test_the_intensity_scheme_follows_the_modality(tmp_path, modality, kind, scheme):
    assert plan_of(tmp_path, [({"kind": kind}, "development")] * 2, make_cohort(modality)).intensity.scheme == scheme


@pytest.mark.parametrize(
    ("modality", "kind", "message"),
    [
        ("mask", "MR", "more than two values"),
        ("MR", "mask", "only two values"),
        ("CT", "MR", "no value under 0"),
        ("MR", "CT", "as of air in CT"),
    ],
)
def test_a_modality_that_the_voxels_contradict_is_an_error(tmp_path, modality, kind, message):
    with pytest.raises(ValueError, match=message):
        plan_of(tmp_path, [({"kind": kind}, "development")] * 2, make_cohort(modality))


def test_auto_is_refused_for_pet_whose_unit_is_unknown(tmp_path):
    with pytest.raises(ValueError, match="cannot scale PET.*set {scheme: suv}"):
        plan_of(tmp_path, DEVELOPMENT, make_cohort("PET"))
    plan = plan_of(tmp_path, DEVELOPMENT, make_cohort("PET", intensity={"scheme": "suv"}))
    assert plan.intensity == Suv(scheme="suv", window_suv=(0, 15))


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


def test_at_most_thirty_scans_are_chosen_of_different_patients_first_in_any_order_of_rows():
    table = pd.DataFrame({"scan_id": [f"S{n}" for n in range(80)], "patient_id": [f"P{n // 4}" for n in range(80)]})
    chosen = choose_scans(table)
    assert len(chosen) == 30 and chosen["patient_id"].nunique() == 20
    assert sorted(choose_scans(table[::-1])["scan_id"]) == sorted(chosen["scan_id"])


def test_geometry_is_read_along_right_anterior_superior():
    table = pd.DataFrame({"shape": ["10x20x30"], "spacing_mm": ["1x2x3.5"], "orientation": ["SLP"]})
    assert read_geometry(table).shape.tolist() == [[20, 30, 10]]
    assert read_geometry(table).spacing.tolist() == [[2, 3.5, 1]]
    assert read_geometry(table).along("SPL").spacing.tolist() == [[1, 3.5, 2]]


def test_an_edited_line_is_kept_shown_and_built_upon_and_others_follow_the_rules(tmp_path):
    table, splits = make_table(tmp_path, DEVELOPMENT)
    cohort, file = make_cohort(), tmp_path / "plan.yaml"
    first = replan(cohort, table, splits, tmp_path, file, CPU)
    write_plan(file, first)
    assert edits_of(check_file(Plan, file)) == {}
    file.write_text(
        file.read_text()
        .replace("spacing_mm: [2.0, 2.0, 2.0]", "spacing_mm: [3, 3, 3]")
        .replace("batch_size: 2", "batch_size: 5")
    )
    for _ in range(2):
        # A second run still knows that the line was edited.
        second = replan(cohort, table, splits, tmp_path, file, CPU)
        write_plan(file, second)
        assert (second.spacing_mm, second.size_voxels, second.batch_size, second.accumulate) == (
            (3, 3, 3),
            (16, 16, 16),
            5,
            2,
        )
        assert second.reasons["spacing_mm"].startswith("edited by hand; the rules say [2.0, 2.0, 2.0]: median")
        assert sorted(edits_of(check_file(Plan, file))) == ["batch_size", "spacing_mm"]


def test_a_line_that_an_older_plan_lacks_is_planned_and_not_taken_for_an_edit(tmp_path):
    table, splits = make_table(tmp_path, DEVELOPMENT)
    file = tmp_path / "plan.yaml"
    write_plan(file, replan(make_cohort(), table, splits, tmp_path, file, CPU))
    lines = file.read_text().splitlines()
    file.write_text("\n".join(line for line in lines if line.strip().split(":")[0] not in ("tilt", "augmentation")))
    assert edits_of(check_file(Plan, file)) == {}
    again = replan(make_cohort(), table, splits, tmp_path, file, CPU)
    assert (again.tilt, again.augmentation) == ("keep", "strong")
    assert not any("edited" in reason for reason in again.reasons.values())


def test_the_config_beats_an_edited_plan(tmp_path):
    table, splits = make_table(tmp_path, DEVELOPMENT)
    file = tmp_path / "plan.yaml"
    write_plan(file, replan(make_cohort(), table, splits, tmp_path, file, CPU))
    file.write_text(file.read_text().replace("spacing_mm: [2.0, 2.0, 2.0]", "spacing_mm: [3, 3, 3]"))
    plan = replan(make_cohort(spacing_mm=(4, 4, 4)), table, splits, tmp_path, file, CPU)
    assert plan.spacing_mm == (4, 4, 4)
    assert plan.reasons["spacing_mm"] == "set in the config of balls"
