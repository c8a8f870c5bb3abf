"""A plan that was edited, or written by an older version."""

from pipeline.config import Plan
from pipeline.config.load import check_file
from pipeline.scans.planning.file import edits_of, write_plan
from pipeline.scans.planning.remaking import replan
from pipeline.scans.planning.training import (
    CPU,
)
from tests.scans.planning.balls import DEVELOPMENT, make_cohort, make_table


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
