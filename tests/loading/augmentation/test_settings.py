import pytest
from pydantic import TypeAdapter

from pipeline.config import Augmentation, Cohort, Plan
from pipeline.loading.augmentation.settings import settle_augmentation

SOURCE = {"kind": "folder", "scans": "scans", "table": "labels.csv"}


def settled(num_patients: int = 100, orientation: str = "SPL", spacing_mm=(1.0, 1.0, 1.0), augmentation=None, **cohort):
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
        reasons={},
    )
    return settle_augmentation(
        Augmentation(**(augmentation or {})), TypeAdapter(Cohort).validate_python(content), plan, num_patients
    )


@pytest.mark.parametrize(
    ("num_patients", "strength"), [(20, "strong"), (199, "strong"), (200, "medium"), (1000, "medium"), (1001, "light")]
)
def test_fewer_patients_get_stronger_augmentation(num_patients, strength):
    assert settled(num_patients).strength == strength


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


def test_a_set_strength_wins_over_the_number_of_patients():
    assert settled(5000, augmentation={"strength": "strong"}).strength == "strong"
