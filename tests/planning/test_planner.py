"""The plan follows from geometry and intensity, and from nothing else."""

from itertools import permutations

import pandas as pd
import pytest

from pipeline.config import Ingest, Plan, Suv
from pipeline.config.load import load_yaml
from pipeline.core.folds import fold_numbers, read_splits, rows_of_fold
from pipeline.planning.cost import CPU
from pipeline.planning.plan_file import find_overrides, write_plan
from pipeline.planning.planner import make_plan, replan
from tests.planning.balls import DEVELOPMENT, make_cohort, make_table


def plan_of(folder, scans, cohort=None):
    table, splits = make_table(folder, scans)
    return make_plan(cohort or make_cohort(), table, splits, folder)


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


def test_labels_and_test_scans_are_never_read(tmp_path):
    strange = {"shape": (60, 60, 60), "spacing": (4.0, 4.0, 4.0), "radius_mm": 90.0}
    table, splits = make_table(tmp_path, [*DEVELOPMENT, (strange, "test")])
    plan = make_plan(make_cohort(), table, splits, tmp_path)
    (tmp_path / "S4.nii.gz").write_bytes(b"cannot be read")
    again = make_plan(make_cohort(), table.assign(label="z"), splits, tmp_path)
    assert again == plan
    assert plan.measured == ("S0", "S1", "S2", "S3")
    assert plan.size_voxels == (24, 24, 24)


def test_the_config_takes_precedence_over_the_rules_and_the_reason_says_so(tmp_path):
    cohort = make_cohort(spacing_mm=(4, 3, 3), orientation="AIL", tilt="straighten", intensity={"scheme": "rescale"})
    plan = plan_of(tmp_path, DEVELOPMENT, cohort)
    assert (plan.spacing_mm, plan.orientation, plan.tilt, plan.intensity.scheme) == (
        (4, 3, 3),
        "AIL",
        "straighten",
        "rescale",
    )
    assert plan.size_voxels == (16, 16, 16)
    configured = [key for key, reason in plan.reasons.items() if reason == "set in the config of balls"]
    assert sorted(configured) == ["intensity", "orientation", "spacing_mm", "tilt"]


def test_every_line_of_the_plan_has_a_reason(tmp_path):
    plan = plan_of(tmp_path, DEVELOPMENT)
    assert set(plan.reasons) == set(Plan.model_fields) - {"reasons", "digests", "measured", "standards", "reference"}
    assert all(len(reason) > 10 for reason in plan.reasons.values())


def test_a_configured_size_is_kept_and_voxels_are_coarsened_to_cover_the_body(tmp_path):
    plan = plan_of(tmp_path, DEVELOPMENT, make_cohort(size_voxels=(16, 16, 16)))
    assert plan.size_voxels == (16, 16, 16)
    assert all(16 * mm >= 40 for mm in plan.spacing_mm)
    assert max(plan.spacing_mm) < 3


@pytest.mark.parametrize("folds", ["nested", "from 1"])
def test_training_scans_are_counted_in_the_first_fold(tmp_path, folds):
    table, splits = make_table(tmp_path, [({}, "nested" if folds == "nested" else "development")] * 12)
    splits["fold"] = pd.array([number % 3 + (folds == "from 1") for number in range(12)], "Int64")
    plan = make_plan(make_cohort(), table, splits, tmp_path)
    train = rows_of_fold(splits, fold_numbers(splits)[0])["train"]
    assert len(train) == (4 if folds == "nested" else 8)
    assert f"of {len(train)} training patients" in plan.reasons["batch_size"]
    assert f"of {len(train)} training scans" in plan.reasons["max_epochs"]


def test_a_body_too_large_for_the_machine_is_coarsened_up_to_twice_then_a_region_must_be_named(tmp_path):
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
        ("CT", "MR", "no value below 0"),
        ("MR", "CT", "the value of air in CT"),
    ],
)
def test_a_modality_that_the_voxels_contradict_is_an_error(tmp_path, modality, kind, message):
    with pytest.raises(ValueError, match=message):
        plan_of(tmp_path, [({"kind": kind}, "development")] * 2, make_cohort(modality))


def test_auto_is_rejected_for_pet_whose_unit_is_unknown(tmp_path):
    with pytest.raises(ValueError, match="cannot scale PET.*set {scheme: suv}"):
        plan_of(tmp_path, DEVELOPMENT, make_cohort("PET"))
    plan = plan_of(tmp_path, DEVELOPMENT, make_cohort("PET", intensity={"scheme": "suv"}))
    assert plan.intensity == Suv(scheme="suv", window_suv=(0, 15))


def test_an_edited_line_is_kept_and_marked_and_later_lines_build_on_it(tmp_path):
    table, splits = make_table(tmp_path, DEVELOPMENT)
    cohort, file = make_cohort(), tmp_path / "plan.yaml"
    first = replan(cohort, table, splits, tmp_path, file, CPU)
    write_plan(file, first)
    assert find_overrides(load_yaml(Plan, file)) == {}
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
        assert sorted(find_overrides(load_yaml(Plan, file))) == ["batch_size", "spacing_mm"]


def test_a_line_missing_from_an_older_plan_is_planned_and_not_taken_for_an_edit(tmp_path):
    table, splits = make_table(tmp_path, DEVELOPMENT)
    file = tmp_path / "plan.yaml"
    write_plan(file, replan(make_cohort(), table, splits, tmp_path, file, CPU))
    lines = file.read_text().splitlines()
    file.write_text("\n".join(line for line in lines if line.strip().split(":")[0] not in ("tilt", "augmentation")))
    assert find_overrides(load_yaml(Plan, file)) == {}
    again = replan(make_cohort(), table, splits, tmp_path, file, CPU)
    assert (again.tilt, again.augmentation) == ("keep", "strong")
    assert not any("edited" in reason for reason in again.reasons.values())


def test_the_config_takes_precedence_over_an_edited_plan(tmp_path):
    table, splits = make_table(tmp_path, DEVELOPMENT)
    file = tmp_path / "plan.yaml"
    write_plan(file, replan(make_cohort(), table, splits, tmp_path, file, CPU))
    file.write_text(file.read_text().replace("spacing_mm: [2.0, 2.0, 2.0]", "spacing_mm: [3, 3, 3]"))
    plan = replan(make_cohort(spacing_mm=(4, 4, 4)), table, splits, tmp_path, file, CPU)
    assert plan.spacing_mm == (4, 4, 4)
    assert plan.reasons["spacing_mm"] == "set in the config of balls"


def test_deleting_an_edited_line_returns_it_to_the_rules(tmp_path):
    table, splits = make_table(tmp_path, DEVELOPMENT)
    file = tmp_path / "plan.yaml"
    planned = replan(make_cohort(), table, splits, tmp_path, file, CPU)
    write_plan(file, planned)
    file.write_text(file.read_text().replace("spacing_mm: [2.0, 2.0, 2.0]", "spacing_mm: [3, 3, 3]"))
    write_plan(file, replan(make_cohort(), table, splits, tmp_path, file, CPU))
    file.write_text("".join(line for line in file.open() if not line.startswith("spacing_mm:")))
    assert replan(make_cohort(), table, splits, tmp_path, file, CPU) == planned


@pytest.mark.slow
def test_a_plan_edited_before_its_scans_became_test_scans_is_rejected_until_the_edits_are_gone(project, command):
    for verb in ("fetch", "ingest", "split", "plan"):
        command(verb)
    folder = project / "data" / "cubes"
    plan = folder / "plan.yaml"
    command("split", "cohort.split.seed=1")
    # A plan without edits is simply planned again, and then measured on today's development scans.
    command("plan")
    plan.write_text(plan.read_text().replace("batch_size: 2", "batch_size: 3"))
    command("plan")
    edited = plan.read_text()
    measured = set(load_yaml(Plan, plan).measured)
    command("split", "cohort.split.seed=2")
    splits = read_splits(folder / "splits.csv")
    leaked = sorted(measured & set(splits.loc[splits["split"] == "test", "scan_id"]))
    assert leaked

    rejected = command("plan", check=False)
    assert rejected.returncode == 1
    assert "plan.yaml: batch_size edited by hand" in rejected.stderr and "delete plan.yaml" in rejected.stderr
    assert all(scan in rejected.stderr for scan in leaked[:5])
    assert plan.read_text() == edited

    plan.write_text("".join(line for line in plan.open() if not line.startswith("batch_size:")))
    command("plan")
    assert load_yaml(Plan, plan).batch_size == 2
    assert not measured >= set(load_yaml(Plan, plan).measured)


def test_what_is_usual_is_measured_on_development_scans_alone(tmp_path):
    plan = plan_of(tmp_path, [({}, "development")] * 8 + [({"spacing": (1, 1, 4)}, "test")] * 8)
    assert plan.reference.num_scans == 8 and plan.reference.ranges["spacing_S"] == (2, 2)
    assert plan_of(tmp_path, [({}, "development")] * 7).reference is None
