import pytest
from pydantic import TypeAdapter

from pipeline.config import Augmentation, Cohort, Plan
from pipeline.loading.augmentation.settings import augmentation_settings, decide_augmentation

SOURCE = {"kind": "folder", "scans": "scans", "table": "labels.csv"}


def settled(planned: str = "strong", orientation: str = "SPL", spacing_mm=(1.0, 1.0, 1.0), augmentation=None, **cohort):
    content = {"name": "c", "source": SOURCE, "modality": "MR", "laterality": "irrelevant", **cohort}
    plan = Plan(
        orientation=orientation,
        spacing_mm=spacing_mm,
        size_voxels=(8, 8, 8),
        crop="center",
        intensity={"scheme": "unchanged"},
        batch_size=1,
        accumulate=1,
        max_epochs=1,
        augmentation=planned,
        reasons={},
    )
    cohort = TypeAdapter(Cohort).validate_python(content)
    decided = decide_augmentation(Augmentation(**(augmentation or {})), cohort, plan)
    return augmentation_settings(decided, cohort, plan)


@pytest.mark.parametrize("strength", ["none", "light", "strong"])
def test_auto_is_the_plan_s_strength_and_the_config_s_beats_it(strength):
    assert settled(strength).strength == strength
    assert settled(strength, augmentation={"strength": "medium"}).strength == "medium"


@pytest.mark.parametrize(("orientation", "axis"), [("SPL", 2), ("RAS", 0), ("ARS", 1)])
def test_the_flip_is_along_left_and_right_wherever_that_axis_lies(orientation, axis):
    assert settled(orientation=orientation).flip_axis == axis


def test_where_laterality_matters_nothing_is_flipped_unless_asked():
    assert settled(laterality="relevant").flip_axis is None
    assert settled(laterality="relevant", augmentation={"flip_left_right": True}).flip_axis == 2
    assert settled(augmentation={"flip_left_right": False}).flip_axis is None


def test_size_changes_only_where_it_is_not_diagnostic_unless_asked():
    assert not settled().is_deformable
    assert settled(size_is_diagnostic=False).is_deformable
    assert settled(augmentation={"zoom": True}).is_deformable


@pytest.mark.parametrize(
    ("spacing_mm", "axes"),
    [((1.0, 1.0, 1.0), (0, 1, 2)), ((2.9, 1.0, 1.0), (0, 1, 2)), ((3.0, 1.0, 1.0), (0,)), ((1.0, 4.0, 1.0), (1,))],
)
def test_stacks_of_slices_turn_in_plane_only(spacing_mm, axes):
    assert settled(spacing_mm=spacing_mm).rotation_axes == axes


def test_the_modality_decides_about_tones_and_artifacts():
    assert settled().is_mr and not settled().is_mask
    assert settled(modality="mask").is_mask and not settled(modality="mask").is_mr
    assert not settled(modality="CT").is_mr
